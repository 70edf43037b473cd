"""What the wheel carries: `tidemill` alone at the top, the parts below `tidemill/_parts/`."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
PARTS = ("api", "batch", "cli", "console", "examples", "features", "learners", "streams")


def folders(top: str) -> list[str]:
    """Every folder of a part that holds a file, as a slashed path from the repository root."""
    found = [ROOT / top, *sorted((ROOT / top).rglob("*/"))]
    return [
        folder.relative_to(ROOT).as_posix()
        for folder in found
        if folder.is_dir()
        and folder.name != "__pycache__"
        and any(child.is_file() for child in folder.iterdir())
    ]


def packages() -> dict[str, str]:
    """Map each package name inside the wheel to its folder here."""
    shipped = {folder.replace("/", "."): folder for folder in folders("tidemill")}
    for part in PARTS:
        for folder in folders(part):
            shipped["tidemill._parts." + folder.replace("/", ".")] = folder
    return shipped


LAYOUT = packages()
setup(packages=list(LAYOUT), package_dir=LAYOUT, package_data={"": ["*"]})
