"""The folders on disk and every list of them agree."""

import ast
import tomllib
from pathlib import Path

from tidemill import loading

ROOT = Path(__file__).resolve().parents[1]
NOT_PRODUCT = {"bench", "build", "deploy", "dist", "docs", "examples", "requirements", "tests"}


def product_folders() -> list[str]:
    """Top-level folders that hold Python and are part of the product."""
    return sorted(
        folder.name
        for folder in ROOT.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.name not in NOT_PRODUCT
        and any(folder.rglob("*.py"))
    )


def constant(file: Path, name: str) -> tuple[str, ...]:
    """A tuple of strings assigned at the top of a file, read without running it."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return tuple(ast.literal_eval(node.value))
    raise AssertionError(f"{file.name} has no {name}")


def test_import_rules_cover_every_folder() -> None:
    """A new top-level folder cannot escape the import rules."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert product_folders() == sorted(config["tool"]["importlinter"]["root_packages"])


def test_types_are_checked_in_every_folder() -> None:
    """A new top-level folder cannot escape the type checker."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    expected = {*product_folders(), "bench", "examples"}
    assert expected == set(config["tool"]["mypy"]["files"]) - {"*.py"}


def test_wheel_carries_every_folder() -> None:
    """The wheel ships each product folder, and the examples, as a part."""
    shipped = set(constant(ROOT / "setup.py", "PARTS"))
    assert {*product_folders(), "examples"} - {"tidemill"} == shipped


def test_loading_knows_every_part() -> None:
    """A user's folder that hides a part is refused for each of the parts."""
    assert {*product_folders()} - {"tidemill"} == set(loading.PARTS)


def test_every_module_is_in_a_package() -> None:
    """A product folder with modules has an __init__.py, or the import rules would not see it."""
    bare = [
        module.parent.relative_to(ROOT).as_posix()
        for name in product_folders()
        for module in (ROOT / name).rglob("*.py")
        if not (module.parent / "__init__.py").exists()
    ]
    assert [] == bare


def test_tests_are_not_packages() -> None:
    """Tests are imported by path, so two of the same name may exist."""
    assert [] == [str(file) for file in (ROOT / "tests").rglob("__init__.py")]
