"""A release is published whole or not at all, and verified before it is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tidemill.errors import ArtifactError, LockedError
from tidemill.registry import MANIFEST, ROLES, SIGNATURE, Manifest, Registry
from tidemill.roles import RoleChange, Standings

FILES = {"model.txt": b"tree", "report.json": b"{}"}


def manifest(release: str, **changes: object) -> Manifest:
    """A manifest before its digests are known."""
    made = Manifest(
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
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path, "shop")


def test_an_empty_registry_has_no_releases(registry: Registry) -> None:
    """Asking creates nothing."""
    assert ([], None, "r0001") == (registry.names(), registry.champion(), registry.next_name())
    assert not registry.folder.exists()


def test_a_published_release_is_read_back(registry: Registry) -> None:
    """The manifest comes back with the digests, the files with their bytes."""
    published = registry.publish(manifest("r0001"), FILES)
    assert published == registry.manifest("r0001")
    assert FILES == {name: registry.read(published, name) for name in published.files}
    assert ("r0001", "r0002") == (registry.champion(), registry.next_name())


def test_the_newest_of_a_schema_passes_over_the_others(registry: Registry) -> None:
    """A release made for other features is none of a learner's business."""
    registry.publish(manifest("r0001"), FILES)
    registry.publish(manifest("r0002", schema="f" * 12), FILES)
    assert "r0002" == registry.champion()
    assert ("r0001", "r0002", None) == tuple(
        registry.champion(schema) for schema in ("0123456789ab", "f" * 12, "another")
    )


def test_a_manifest_that_cannot_be_read_is_not_passed_over(registry: Registry) -> None:
    """A damaged release is found, so that loading it names the damage."""
    registry.publish(manifest("r0001"), FILES)
    registry.publish(manifest("r0002"), FILES)
    (registry.folder / "r0002" / MANIFEST).write_bytes(b"?")
    assert "r0002" == registry.champion("0123456789ab")


def test_releases_are_ordered_by_number(registry: Registry) -> None:
    """The ten-thousandth release comes after the one before it."""
    for name in ("r10000", "r9999", "r0002"):
        registry.publish(manifest(name), FILES)
    assert ["r0002", "r9999", "r10000"] == registry.names()
    assert "r10001" == registry.next_name()


def test_what_a_killed_publish_left_behind_is_no_release(registry: Registry) -> None:
    """A staging folder is ignored, however complete, and the next publisher removes it."""
    registry.publish(manifest("r0001"), FILES)
    staging = registry.folder / ".staging-x1"
    staging.mkdir()
    (staging / MANIFEST).write_bytes((registry.folder / "r0001" / MANIFEST).read_bytes())
    assert (["r0001"], "r0002") == (registry.names(), registry.next_name())
    registry.publish(manifest("r0002"), FILES)
    assert not staging.exists()


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


def test_a_release_of_another_project_is_not_published(registry: Registry) -> None:
    """Nobody would read it."""
    with pytest.raises(ValueError, match="project: found other; allowed: shop"):
        registry.publish(manifest("r0001", project="other"), FILES)


def test_a_release_is_never_replaced(registry: Registry) -> None:
    """Publishing under a taken name fails and the first release stays."""
    published = registry.publish(manifest("r0001"), FILES)
    with pytest.raises(OSError):
        registry.publish(manifest("r0001"), {"model.txt": b"other"})
    assert (b"tree", ["r0001"]) == (
        registry.read(published, "model.txt"),
        registry.names(),
    )
    assert {"r0001", "roles.jsonl"} == {path.name for path in registry.folder.iterdir()}


def test_a_tampered_file_is_refused(registry: Registry) -> None:
    """A file whose bytes changed is not handed out."""
    published = registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / "model.txt").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match=r"model\.txt: sha256"):
        registry.read(published, "model.txt")


def test_a_file_that_the_manifest_does_not_know_is_refused(registry: Registry) -> None:
    """A file put beside the release is not handed out."""
    published = registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / "more.txt").write_bytes(b"x")
    with pytest.raises(ArtifactError):
        registry.read(published, "more.txt")


def test_a_missing_file_is_refused(registry: Registry) -> None:
    """A listed file that is gone is an artifact error."""
    published = registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / "model.txt").unlink()
    with pytest.raises(ArtifactError):
        registry.read(published, "model.txt")


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


def test_a_release_that_is_not_signed_is_refused(registry: Registry) -> None:
    """Neither without a signature nor with that of other bytes does a parser see it."""
    registry.publish(manifest("r0001"), FILES)
    registry.publish(manifest("r0002"), FILES)
    signature = registry.folder / "r0001" / SIGNATURE
    signature.write_bytes((registry.folder / "r0002" / SIGNATURE).read_bytes())
    with pytest.raises(ArtifactError, match="release r0001: signature: found one that fits no"):
        registry.manifest("r0001")
    signature.unlink()
    with pytest.raises(ArtifactError, match="release r0001: signature: found none; allowed: one "):
        registry.manifest("r0001")


def test_the_signature_is_checked_before_anything_is_parsed(registry: Registry) -> None:
    """Bytes of nobody's are refused for that, not for what they are."""
    registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001" / MANIFEST).write_bytes(b"[" * 100_000)
    with pytest.raises(ArtifactError, match="signature"):
        registry.manifest("r0001")


def test_a_signed_manifest_is_no_proof_of_another_release(registry: Registry) -> None:
    """A release copied under another name, or into another project, is refused."""
    registry.publish(manifest("r0001"), FILES)
    (registry.folder / "r0001").rename(registry.folder / "r0009")
    with pytest.raises(ArtifactError, match="release r0009: manifest: found that of r0001"):
        registry.manifest("r0009")
    (registry.folder / "r0009").rename(registry.folder / "r0001")
    registry.folder.rename(registry.folder.with_name("other"))
    with pytest.raises(ArtifactError, match="found that of shop; allowed: of other"):
        Registry(registry.folder.parents[1], "other").manifest("r0001")


def unsigned(registry: Registry, release: str) -> None:
    """A release as it was before there were signatures and a journal."""
    registry.publish(manifest(release), FILES)
    (registry.folder / release / SIGNATURE).unlink()
    (registry.folder / ROLES).unlink()
    for path in (registry.folder.parents[1] / "keys").iterdir():
        path.unlink()


def test_a_home_from_before_signatures_goes_on(registry: Registry) -> None:
    """Its releases are read; the first that is published has all of them signed and entered."""
    unsigned(registry, "r0001")
    assert ("r0001", "") == (registry.champion("0123456789ab"), registry.signed_by("r0001"))
    assert b"tree" == registry.read(registry.manifest("r0001"), "model.txt")
    registry.publish(manifest("r0002"), FILES)
    assert registry.signed_by("r0001") == registry.signed_by("r0002") != ""
    assert ["r0001", "r0002"] == [change.release for change in registry.standings().changes]


def test_the_name_of_a_deleted_release_is_not_used_again(registry: Registry) -> None:
    """What the journal says of one must not be said of another."""
    for name in ("r0001", "r0002"):
        registry.publish(manifest(name), FILES)
    (registry.folder / "r0002").rename(registry.folder / "backup")
    assert ("r0001", "r0003") == (registry.champion(), registry.next_name())


def test_a_challenger_is_published_beside_the_champion(registry: Registry) -> None:
    """It has a role, but does not answer."""
    registry.publish(manifest("r0001"), FILES)
    registry.publish(manifest("r0002", role="challenger"), FILES)
    standings = registry.standings()
    assert ("r0001", ["r0002"]) == (registry.champion(), standings.challengers())


def test_a_run_finds_what_it_published(registry: Registry) -> None:
    """One that was killed after its release was there does not publish a second."""
    registry.publish(manifest("r0001", run="run0007"), FILES)
    registry.publish(manifest("r0002"), FILES)
    assert ("r0001", None, None) == tuple(
        registry.release_of(run) for run in ("run0007", "run0008", "")
    )
    assert ("r0001", None) == tuple(registry.release_of("run0007", since) for since in (1, 2))


def test_a_change_is_entered_after_what_was_not(registry: Registry) -> None:
    """An operator's order to take an older release stands, also over one without an entry."""
    for name in ("r0001", "r0002"):
        registry.publish(manifest(name), FILES)
    (registry.folder / ROLES).unlink()

    def back(standings: Standings) -> RoleChange:
        assert "r0002" == standings.champion().release
        return RoleChange("r0001", "rolled_back", "0123456789ab", 9, instead_of="r0002")

    registry.enter(back)
    assert ("r0001", "rolled_back") == (registry.champion(), registry.standings().role("r0002"))


STEPS = {
    "before the rename": ("os", "rename", "before", [], None),
    "after the rename": ("os", "rename", "after", ["r0001"], "r0001"),
    "before the entry": ("tidemill.roles", "_write", "before", ["r0001"], "r0001"),
    "after the entry": ("tidemill.roles", "_write", "after", ["r0001"], "r0001"),
}
PUBLISHER = """
import importlib, os, signal, sys
from pathlib import Path
import msgspec
from tidemill.registry import Manifest, Registry
home, manifest, module, name, when = sys.argv[1:]
owner = importlib.import_module(module)
real, release = getattr(owner, name), msgspec.json.decode(manifest, type=Manifest)
registry = Registry(Path(home), "shop")
registry._keys.signer(lambda signer: None)  # that a key is made is not what is killed here

def dying(*arguments):
    if when == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, dying)
registry.publish(release, {"model.txt": b"tree", "report.json": b"{}"})
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_publisher_killed_at_any_step_leaves_all_or_nothing(
    registry: Registry, step: str
) -> None:
    """What is there is whole and has its role; the next one publishes as if nothing had been."""
    module, name, when, names, champion = STEPS[step]
    home, encoded = registry.folder.parents[1], msgspec.json.encode(manifest("r0001")).decode()
    command = [sys.executable, "-c", PUBLISHER, str(home), encoded, module, name, when]
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    killed = subprocess.run(command, env=env, timeout=60, check=False)
    assert -signal.SIGKILL == killed.returncode
    assert (names, champion) == (registry.names(), registry.champion())
    published = registry.publish(manifest(registry.next_name()), FILES)
    assert published.release == registry.champion()
    assert b"tree" == registry.read(published, "model.txt")
    assert registry.names() == [change.release for change in registry.standings().changes]
    assert [] == list(registry.folder.glob(".staging-*"))
