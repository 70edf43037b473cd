"""The wheel, installed into an empty environment."""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import tidemill

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("api", "batch", "cli", "console", "examples", "features", "learners", "streams")
SOURCES = (*PARTS, "tidemill", "pyproject.toml", "setup.py", "README.md", "LICENSE")
IGNORED = shutil.ignore_patterns("__pycache__", ".*")


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout; its output is in the failure."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TIDEMILL_"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the built wheel and nothing else."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = ("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", work)
    run(*pip, *build, source, cwd=work)
    home = work / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    install = ("install", "--no-deps", "--no-index", "--no-compile", *work.glob("*.whl"))
    run(*pip, "--python", home / "bin/python", *install, cwd=work)
    return home


def packages(environment: Path) -> Path:
    """Its site-packages folder."""
    return next(environment.glob("lib/python*/site-packages"))


def shipped_files(top: Path) -> set[str]:
    """Files below a folder that a wheel is expected to carry, as slashed paths."""
    return {
        file.relative_to(top).as_posix()
        for file in top.rglob("*")
        if file.is_file()
        and "__pycache__" not in file.parts
        and not any(part.startswith(".") for part in file.relative_to(top).parts)
    }


def test_only_tidemill_is_at_the_top(environment: Path) -> None:
    """No part's name, such as `api`, lands beside other people's packages."""
    expected = ["tidemill", f"tidemill-{tidemill.__version__}.dist-info"]
    assert expected == sorted(entry.name for entry in packages(environment).iterdir())


@pytest.mark.parametrize("part", PARTS)
def test_every_file_of_a_part_is_shipped(environment: Path, part: str) -> None:
    """Modules, scripts for the store, the console's files and the examples are all in the wheel."""
    expected = shipped_files(ROOT / part)
    assert expected == shipped_files(packages(environment) / "tidemill" / "_parts" / part)


@pytest.mark.parametrize("entry", ["bin/tidemill", "bin/python -m tidemill"])
def test_installed_command_works(environment: Path, tmp_path: Path, entry: str) -> None:
    """The command finds its own parts, also where the user has a folder of the same name."""
    for decoy in ("api", "cli"):
        (tmp_path / decoy).mkdir()
        (tmp_path / decoy / "__init__.py").write_text("raise SystemExit('the wrong folder')\n")
    # The libraries come from the environment that runs the tests: nothing is downloaded here.
    libraries = packages(environment) / "libraries.pth"
    libraries.write_text("\n".join(site.getsitepackages()))
    program, *rest = entry.split()
    try:
        done = run(environment / program, *rest, "--help", cwd=tmp_path)
    finally:
        libraries.unlink()
    assert "retrain" in done.stdout


def test_checkout_command_works_anywhere(tmp_path: Path) -> None:
    """The set-up's own `tidemill` runs from any folder."""
    done = run(Path(sys.executable).parent / "tidemill", "--help", cwd=tmp_path)
    assert "retrain" in done.stdout


def test_wheel_version_is_the_package_version(environment: Path) -> None:
    """`tidemill.__version__` and the wheel's metadata agree."""
    metadata = next(packages(environment).glob("tidemill-*.dist-info")) / "METADATA"
    assert f"Version: {tidemill.__version__}" in metadata.read_text(encoding="utf-8").splitlines()
