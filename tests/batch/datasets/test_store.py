"""Datasets are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batch.datasets import once, parts, sorted_rows
from batch.datasets.build import build
from batch.datasets.manifest import DatasetManifest
from batch.datasets.store import MANIFEST, DatasetStore
from batch.training_set import TrainingSet
from features.plan import compile_plan
from tidemill import DatasetRule
from tidemill.clock import FakeClock
from tidemill.declaration import Project
from tidemill.errors import ArtifactError, InputError

KILLED = """
import os, sys
from pathlib import Path
from batch.datasets.store import DatasetStore

with DatasetStore(Path(sys.argv[1]), "p").staging() as folder:
    (folder / "part-00000.parquet").write_bytes(b"half")
    print(folder.name, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def store(backfilled: Path) -> DatasetStore:
    """The store of a project with an archive."""
    return DatasetStore(backfilled, "p", FakeClock(5))


@pytest.fixture
def training(backfilled: Path, project: Project) -> TrainingSet:
    """What datasets are made of."""
    return TrainingSet(backfilled, compile_plan(project))


def left(store: DatasetStore) -> set[str]:
    """What lies in the store's folder beside its lock."""
    return {path.name for path in store.folder("").iterdir()} - {".lock"}


def test_they_are_listed_newest_last(backfilled: Path, training: TrainingSet) -> None:
    """By when they were made; a store without any is empty."""
    clock = FakeClock(9)
    store = DatasetStore(backfilled, "p", clock)
    assert [] == DatasetStore(backfilled, "other").names()
    first = build(training, DatasetRule(last="3d"), store)
    clock.advance(1)
    second = build(training, DatasetRule(last="4d"), store)
    clock.advance(1)
    third = build(training, DatasetRule(last="2d"), store)
    assert [first.id, second.id, third.id] == store.names()
    assert store.folder(first.id) == backfilled / "datasets" / "p" / first.id


@pytest.mark.parametrize("name", ["d0123456789ab", "r0001", "..", ""])
def test_what_is_not_there_is_named(store: DatasetStore, training: TrainingSet, name: str) -> None:
    """The error says which there are."""
    made = build(training, DatasetRule(), store)
    with pytest.raises(InputError, match=f"dataset: found '{name}'; .* such as {made.id}"):
        store.read(name)


def test_a_file_named_like_a_dataset_is_none(store: DatasetStore, training: TrainingSet) -> None:
    """It is neither listed nor read."""
    made = build(training, DatasetRule(), store)
    store.folder("d0123456789ab").write_bytes(b"")
    assert [made.id] == store.names()
    with pytest.raises(InputError, match=f"such as {made.id}"):
        store.read("d0123456789ab")


def test_a_folder_is_on_the_disk_before_it_has_its_name(
    store: DatasetStore, training: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a dataset has all its files or is not there."""
    synced: list[set[str]] = []

    def noted(folder: Path) -> None:
        synced.append({path.name for path in folder.iterdir()})

    monkeypatch.setattr("batch.datasets.store.sync_folder", noted)
    made = build(training, DatasetRule(), store)
    whole, named = synced
    assert {MANIFEST, *made.parts} == whole
    assert made.id in named


def test_a_damaged_part_is_refused_and_made_again(
    store: DatasetStore, training: TrainingSet
) -> None:
    """One changed byte is found before anything is parsed; the next build mends it."""
    made = build(training, DatasetRule(), store)
    part = store.folder(made.id) / next(iter(made.parts))
    data = bytearray(part.read_bytes())
    data[1000] ^= 1
    part.write_bytes(data)
    for use in (store.read, store.check):
        with pytest.raises(ArtifactError, match=f"{made.id}: part-00000.parquet: sha256"):
            use(made.id)
    assert made == store.manifest(made.id)
    assert made == build(training, DatasetRule(), store) == store.check(made.id)
    assert made.rows == len(store.read(made.id))


def test_a_missing_part_is_refused(store: DatasetStore, training: TrainingSet) -> None:
    """A file that is gone is an error, not fewer rows."""
    made = build(training, DatasetRule(), store)
    (store.folder(made.id) / "part-00000.parquet").unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        store.read(made.id)


@pytest.mark.parametrize("damage", ["changed", "half"])
def test_a_damaged_manifest_is_refused(
    store: DatasetStore, training: TrainingSet, damage: str
) -> None:
    """What the id does not say is not believed; the list goes on."""
    made = build(training, DatasetRule(), store)
    file = store.folder(made.id) / MANIFEST
    other = msgspec.json.encode(msgspec.structs.replace(made, rows=7))
    file.write_bytes(other if damage == "changed" else other[:40])
    with pytest.raises(ArtifactError, match=f"dataset {made.id}"):
        store.manifest(made.id)
    assert [made.id] == store.names()


def test_what_a_killed_build_left_is_removed_by_the_next(
    store: DatasetStore, training: TrainingSet, backfilled: Path
) -> None:
    """A folder without a living owner goes; the dataset is made as if nothing had been."""
    ended = subprocess.run(
        (sys.executable, "-c", KILLED, str(backfilled)), capture_output=True, check=False,
        text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}, timeout=120,
    )  # fmt: skip
    assert (-9, {ended.stdout.strip()}) == (ended.returncode, left(store)), ended.stderr
    made = build(training, DatasetRule(), store)
    assert {made.id} == left(store)


def test_a_living_build_is_left_alone(store: DatasetStore, training: TrainingSet) -> None:
    """A second build removes nothing of the first, and both give the same dataset."""
    with store.staging() as folder:
        (folder / "part-00000.parquet").write_bytes(b"half")
        made = build(training, DatasetRule(), store)
        assert {made.id, folder.name} == left(store)
    assert {made.id} == left(store)


class Meanwhile:
    """Builds the same dataset when the build that it watches begins to write."""

    def __init__(self, second: Callable[[], DatasetManifest]) -> None:
        self._second, self.made = second, list[DatasetManifest]()

    def start(self, stage: str, steps: int) -> None:
        """Do it once."""
        if stage == "write the dataset":
            self.made.append(self._second())

    def advance(self, steps: int = 1) -> None:
        """Say nothing."""


def test_two_builds_at_once(store: DatasetStore, training: TrainingSet) -> None:
    """The one that ends later finds the other's dataset; both return the same manifest."""
    meanwhile = Meanwhile(lambda: build(training, DatasetRule(), store))
    made = build(training, DatasetRule(), store, None, meanwhile)
    assert [made] == meanwhile.made
    assert {made.id} == left(store)


def test_a_full_disk_leaves_nothing(
    store: DatasetStore, training: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the system's own, and the next build is as if nothing had been."""
    monkeypatch.setattr(parts, "part_name", lambda number: "/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        build(training, DatasetRule(), store)
    assert errno.ENOSPC == caught.value.errno
    assert set() == left(store)
    monkeypatch.undo()
    assert {build(training, DatasetRule(), store).id} == left(store)


@pytest.mark.parametrize("room", [100, 20_000, 50_000])
@pytest.mark.parametrize("spilled", [False, True])
def test_a_limit_on_files_leaves_nothing(
    store: DatasetStore,
    training: TrainingSet,
    monkeypatch: pytest.MonkeyPatch,
    spilled: bool,
    room: int,
) -> None:
    """The same however much could be written before, and where rows are sorted on the disk."""
    if spilled:
        monkeypatch.setattr(once, "SAMPLED", 3)
        monkeypatch.setattr(sorted_rows, "BUCKET_BYTES", 120 * 800)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            build(training, DatasetRule(), store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert errno.EFBIG == caught.value.errno
    assert set() == left(store)
    assert np.isfinite(store.read(build(training, DatasetRule(), store).id).labels).all()
