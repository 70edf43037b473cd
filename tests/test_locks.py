"""The lock files are complete, exact and agree with the declared ranges."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "requirements"


def pins(lock: str) -> dict[str, str]:
    """Name to version of one lock, with the lock it includes."""
    found: dict[str, str] = {}
    for line in (LOCKS / f"{lock}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= pins(line.removeprefix("-r ").removesuffix(".txt"))
        elif line and not line.startswith("#"):
            name, version = line.split("==")
            found[canonicalize_name(name)] = version
    return found


def declared() -> list[tuple[str, Requirement]]:
    """Every requirement of pyproject.toml with the lock that pins it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    demo = [*project["dependencies"], *extras["demo"]]
    dev = [r for extra, needed in extras.items() if extra != "demo" for r in needed]
    return [("demo", Requirement(r)) for r in demo] + [("dev", Requirement(r)) for r in dev]


def test_locks_name_no_registry() -> None:
    """A lock says what, never from where."""
    text = "".join(file.read_text(encoding="utf-8") for file in LOCKS.glob("*.txt"))
    assert [] == re.findall(r"https?://\S+|--[a-z-]*(?:index|links)\S*", text)


@pytest.mark.parametrize(("lock", "requirement"), declared(), ids=str)
def test_lock_obeys_the_declared_range(lock: str, requirement: Requirement) -> None:
    """Each declared dependency is pinned to a version that its range allows."""
    assert requirement.specifier.contains(pins(lock)[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("lock", ["demo", "dev"])
def test_lock_is_complete(lock: str) -> None:
    """Whatever a pinned package needs on this machine is pinned as well."""
    locked = pins(lock)
    missing = {
        f"{name} needs {requirement.name}"
        for name in locked
        for text in importlib.metadata.requires(name) or []
        if (requirement := Requirement(text)).marker is None
        or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) not in locked
        # Its accelerator libraries differ from build to build: pip resolves those of torch.
        if name != "torch"
    }
    assert set() == missing


def test_the_demo_does_not_need_torch() -> None:
    """The runtime and the demo install without torch; the tests' lock has the one version."""
    assert (False, "2.13.0") == ("torch" in pins("demo"), pins("dev")["torch"])
