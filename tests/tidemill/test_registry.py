"""A release is published whole or not at all, and verified before it is read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tidemill.errors import ArtifactError, LockedError
from tidemill.registry import MANIFEST, Manifest, Registry

FILES = {"model.txt": b"tree", "report.json": b"{}"}


def manifest(release: str) -> Manifest:
    """A manifest before its digests are known."""
    return Manifest(
        release=release,
        project="shop",
        schema="0123456789ab",
        features=["amount"],
        created_ms=1,
        trained_from_ms=2,
        trained_to_ms=3,
        rows=4,
        offsets={"examples:0": 5},
        metrics={"auc": 0.75},
        files={},
        parameters={"leaves": 63},
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path, "shop")


def test_an_empty_registry_has_no_releases(registry: Registry) -> None:
    """Asking creates nothing."""
    assert ([], None, "r0001") == (registry.names(), registry.newest(), registry.next_name())
    assert not registry.folder.exists()


def test_a_published_release_is_read_back(registry: Registry) -> None:
    """The manifest comes back with the digests, the files with their bytes."""
    published = registry.publish(manifest("r0001"), FILES)
    assert published == registry.manifest("r0001")
    assert FILES == {name: registry.read("r0001", name) for name in published.files}
    assert ("r0001", "r0002") == (registry.newest(), registry.next_name())


def test_the_newest_of_a_schema_passes_over_the_others(registry: Registry) -> None:
    """A release made for other features is none of a learner's business."""
    registry.publish(manifest("r0001"), FILES)
    registry.publish(msgspec.structs.replace(manifest("r0002"), schema="f" * 12), FILES)
    assert "r0002" == registry.newest()
    assert ("r0001", "r0002", None) == tuple(
        registry.newest(schema) for schema in ("0123456789ab", "f" * 12, "another")
    )


def test_a_manifest_that_cannot_be_read_is_not_passed_over(registry: Registry) -> None:
    """A damaged release is found, so that loading it names the damage."""
    registry.publish(manifest("r0001"), FILES)
    registry.publish(manifest("r0002"), FILES)
    (registry.folder / "r0002" / MANIFEST).write_bytes(b"?")
    assert "r0002" == registry.newest("0123456789ab")


def test_releases_are_ordered_by_number(registry: Registry) -> None:
    """The ten-thousandth release comes after the one before it."""
    for name in ("r10000", "r9999", "r0002"):
        registry.publish(manifest(name), FILES)
    assert ["r0002", "r9999", "r10000"] == registry.names()
    assert "r10001" == registry.next_name()


def test_what_a_killed_publish_left_behind_is_no_release(registry: Registry) -> None:
    """A staging folder is ignored, however complete."""
    registry.publish(manifest("r0001"), FILES)
    staging = registry.folder / ".staging-x1"
    staging.mkdir()
    (staging / MANIFEST).write_bytes((registry.folder / "r0001" / MANIFEST).read_bytes())
    assert (["r0001"], "r0002") == (registry.names(), registry.next_name())


def test_other_folders_are_no_releases(registry: Registry) -> None:
    """Backups and folders without a manifest do not count."""
    registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0002").mkdir()
    (registry.folder / "r0001").rename(registry.folder / "backup")
    assert [] == registry.names()


def test_a_failed_publish_leaves_nothing(registry: Registry) -> None:
    """When a file cannot be written neither a release nor a staging folder stays."""
    with pytest.raises(OSError):
        registry.publish(manifest("r0001"), {"no/such/folder": b""})
    assert [] == list(registry.folder.iterdir())


def test_a_release_is_never_replaced(registry: Registry) -> None:
    """Publishing under a taken name fails and the first release stays."""
    registry.publish(manifest("r0001"), FILES)
    with pytest.raises(OSError):
        registry.publish(manifest("r0001"), {"model.txt": b"other"})
    assert (b"tree", ["r0001"]) == (
        registry.read("r0001", "model.txt"),
        [path.name for path in registry.folder.iterdir()],
    )


def test_a_tampered_file_is_refused(registry: Registry) -> None:
    """A file whose bytes changed is not handed out."""
    registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / "model.txt").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match=r"model\.txt: sha256"):
        registry.read("r0001", "model.txt")


def test_a_file_that_the_manifest_does_not_know_is_refused(registry: Registry) -> None:
    """A file put beside the release is not handed out."""
    registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / "more.txt").write_bytes(b"x")
    with pytest.raises(ArtifactError):
        registry.read("r0001", "more.txt")


def test_a_missing_file_is_refused(registry: Registry) -> None:
    """A listed file that is gone is an artifact error."""
    registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / "model.txt").unlink()
    with pytest.raises(ArtifactError):
        registry.read("r0001", "model.txt")


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b"\xff", b'{"release": "\xff"}'])
def test_a_broken_manifest_is_refused(registry: Registry, data: bytes) -> None:
    """A manifest that does not decode is an artifact error."""
    registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / MANIFEST).write_bytes(data)
    with pytest.raises(ArtifactError, match="release r0001"):
        registry.manifest("r0001")


def test_a_missing_release_is_refused(registry: Registry) -> None:
    """A release that was never published is an artifact error."""
    with pytest.raises(ArtifactError):
        registry.manifest("r0007")


def test_the_lock_is_held_by_one(registry: Registry) -> None:
    """A second holder is refused at once; after release the lock is free again."""
    with registry.lock():
        with pytest.raises(LockedError, match="another retrain of shop"):
            with Registry(registry.folder.parents[1], "shop").lock():
                pass
    with registry.lock():
        pass


def test_locks_of_two_projects_do_not_meet(tmp_path: Path) -> None:
    """Each project has its own lock."""
    with Registry(tmp_path, "a").lock(), Registry(tmp_path, "b").lock():
        pass
