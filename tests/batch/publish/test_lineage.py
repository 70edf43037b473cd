"""Lineage goes from a prediction to its data and from data to its use; what is gone is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from published import release, run

import batch.publish.lineage
from batch.publish.lineage import Lineage, Lines
from features.archive.files import ArchiveWriter, examples_table, predictions_table
from tidemill.errors import InputError
from tidemill.registry import Registry
from tidemill.topics import EXAMPLES, PREDICTIONS
from tidemill.wire import Example, Prediction, vector_bytes

BASE, DERIVED = "d00000000000a", "d00000000000b"


class Datasets:
    """Two datasets, one derived from the other; only what lineage asks for."""

    def __init__(self, home: Path, project: str) -> None:
        folder = home / "datasets"
        self._found = {name: name for name in (BASE, DERIVED) if (folder / name).is_dir()}

    def names(self) -> list[str]:
        """Those that are there."""
        return list(self._found)

    def manifest(self, name: str) -> SimpleNamespace:
        """What a manifest says."""
        parent = BASE if name == DERIVED else ""
        return SimpleNamespace(
            rows=100, from_ms=1, to_ms=2, offsets={"examples:0": 70}, parent=parent
        )


def prediction(number: int, made_by: str) -> Prediction:
    """One answer."""
    vector = vector_bytes(np.zeros(2, np.float32))
    return Prediction(f"p{number}", "k", 1_000 + number, vector, "s", 0.5, 0.5, made_by, 3, 9)


@pytest.fixture
def lines(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Two releases by two runs from two datasets, five answers, one label, a refused run."""
    monkeypatch.setattr(batch.publish.lineage, "DatasetStore", Datasets)
    for name in (BASE, DERIVED):
        (tmp_path / "datasets" / name).mkdir(parents=True)
    for number, dataset in ((1, BASE), (2, DERIVED)):
        made = run(tmp_path, release=f"r000{number}", dataset=dataset)
        release(registry, f"r000{number}", run=made, dataset=dataset)
    run(tmp_path, outcome="refused", dataset=DERIVED)
    names = ["prior", "r0001", "r0001", "r0002", "r0009"]
    made = [prediction(number, name) for number, name in enumerate(names)]
    ArchiveWriter(tmp_path, "shop", PREDICTIONS, 0).write(
        predictions_table(made, 0, range(5), [0] * 5), 5
    )
    table = examples_table([Example(made[3], 1.0, 2_000, 0, 0, 1)], 0, [0], [0])
    ArchiveWriter(tmp_path, "shop", EXAMPLES, 0).write(table, 1)
    return Lines(registry)


def names(found: Lineage) -> tuple[list[str], list[str], list[str]]:
    """The releases, runs and datasets of a lineage."""
    return (
        [each.release for each in found.releases],
        [each.run for each in found.runs],
        [each.dataset for each in found.datasets],
    )


def test_from_a_prediction_to_its_offsets(lines: Lines) -> None:
    """Its answer and label, snapshot, release, run, dataset and what that was derived from."""
    found = lines.of("p3")
    assert ("prediction", 3, [1.0]) == (
        found.kind, found.snapshot, [label.label for label in found.labels],
    )  # fmt: skip
    assert (["r0002"], ["run0002"], [DERIVED, BASE]) == names(found)
    assert ("champion", {"examples:0": 70, "sequence:0": 70}) == (
        found.releases[0].role, found.releases[0].offsets,
    )  # fmt: skip
    assert found.releases[0].signed_by
    assert {"examples:0": 70} == found.datasets[0].offsets


def test_the_prior_has_no_release(lines: Lines) -> None:
    """There was none when it answered."""
    assert ([], [], []) == names(lines.of("p0"))


def test_a_release_that_was_deleted_is_named(lines: Lines) -> None:
    """From one of its predictions, and by itself."""
    for name in ("p4", "r0009"):
        found = lines.of(name)
        assert [("r0009", "deleted")] == [(each.release, each.problem) for each in found.releases]


def test_from_a_release_both_ways(lines: Lines) -> None:
    """What it was made of, and how many requests it answered."""
    found = lines.of("r0001")
    assert (["r0001"], ["run0001"], [BASE]) == names(found)
    assert (2, 1_001, 1_002) == (
        found.releases[0].answered.count, found.releases[0].answered.first_ms,
        found.releases[0].answered.last_ms,
    )  # fmt: skip


def test_from_a_snapshot(lines: Lines) -> None:
    """One of a release's; a number that never answered is nowhere."""
    found = lines.of("r0001/3")
    assert ("snapshot", 3, 2) == (found.kind, found.snapshot, found.releases[0].answered.count)
    with pytest.raises(InputError):
        lines.of("r0001/4")


def test_from_a_run(lines: Lines) -> None:
    """Its dataset, its release and the release's answers; a refused one has none."""
    assert (["r0002"], ["run0002"], [DERIVED, BASE]) == names(lines.of("run0002"))
    assert ([], ["run0003"], [DERIVED, BASE]) == names(lines.of("run0003"))


def test_from_a_dataset_to_its_use(lines: Lines) -> None:
    """Runs, releases, answers, and the datasets derived from it."""
    found = lines.of(BASE)
    assert (["r0001"], ["run0001"], [BASE, DERIVED]) == names(found)
    assert 2 == found.releases[0].answered.count
    assert (["r0002"], ["run0002", "run0003"], [DERIVED, BASE]) == names(lines.of(DERIVED))


def test_what_was_deleted_is_named_by_those_that_knew_it(lines: Lines, tmp_path: Path) -> None:
    """A release still says by which run and from which dataset it was made."""
    shutil.rmtree(tmp_path / "runs" / "shop" / "run0002")
    shutil.rmtree(tmp_path / "datasets" / DERIVED)
    lines = Lines(Registry(tmp_path, "shop"))
    for name in ("p3", "r0002", "run0002"):
        found = lines.of(name)
        assert (["r0002"], ["run0002"], [DERIVED]) == names(found)
        assert ["deleted", "deleted"] == [found.runs[0].problem, found.datasets[0].problem]
    assert (["r0002"], ["run0003", "run0002"], [DERIVED]) == names(lines.of(DERIVED))


def test_a_damaged_release_says_so(lines: Lines, tmp_path: Path) -> None:
    """The rest of the line is shown all the same."""
    (tmp_path / "releases/shop/r0001/manifest.sig").unlink()
    found = lines.of("p1")
    assert "signature" in found.releases[0].problem


@pytest.mark.parametrize("name", ["p9", "r0077", "run0077", "d0000000000ff", "", "a\nb", "r1/2/3"])
def test_an_id_that_is_nowhere(lines: Lines, name: str) -> None:
    """The message says what was looked through."""
    with pytest.raises(InputError) as raised:
        lines.of(name)
    for expected in ("5 archived predictions", "2 releases", "3 runs", "2 datasets of shop"):
        assert expected in str(raised.value)
