"""A release's manifest in a home from before signatures, where nothing stands before the parser."""

import tempfile
from pathlib import Path

import msgspec

from tidemill.errors import ArtifactError
from tidemill.registry import MANIFEST, Manifest, Registry

ALLOWED = (ArtifactError,)
RELEASE, PROJECT = "r0001", "fuzzed"
# In memory, so that millions of files cost no disk; kept open as long as the process lives.
_MEMORY = Path("/dev/shm")
_FOLDER = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
REGISTRY = Registry(Path(_FOLDER.name), PROJECT)
FILE = REGISTRY.folder / RELEASE / MANIFEST
FILE.parent.mkdir(parents=True)


def seeds() -> list[bytes]:
    """A plain one and one with everything."""
    plain = Manifest(
        RELEASE, PROJECT, "abc", ["amount"], 1, 2, 3, 4, {"fuzzed.examples:0": 7}, {"auc": 0.75},
        {"model.txt": "00" * 32}, {"leaves": 63, "rate": 0.05, "kind": "trees"},
    )  # fmt: skip
    told = {"run": "run1", "dataset": "d1", "parent": "r0000", "forced": "me", "version": "1"}
    full = msgspec.structs.replace(plain, role="challenger", **told)
    return [msgspec.json.format(msgspec.json.encode(each)) for each in (plain, full)]


def one(data: bytes) -> None:
    """Read from the disk as the api does; what passes is this release's and can stand."""
    FILE.write_bytes(data)
    manifest = REGISTRY.manifest(RELEASE)
    assert (RELEASE, PROJECT) == (manifest.release, manifest.project)
    REGISTRY.standings().champion(manifest.schema)
    REGISTRY.announcement(RELEASE, "head", 1).encode()
