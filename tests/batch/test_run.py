"""A run that was killed at any point is gone on with, and nothing that was done is done again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from batch.run import GONE_ON_WITH_MS, RUN_FILE, Run, Runs
from tidemill.clock import FakeClock
from tidemill.errors import ArtifactError


class Work:
    """Counts how often it was done."""

    def __init__(self, **files: bytes) -> None:
        self.files, self.times = files, 0

    def __call__(self) -> Mapping[str, bytes]:
        """Do it."""
        self.times += 1
        return self.files


class Killed(BaseException):
    """Stands for the end of the process."""


def begin(home: Path, key: str = "k", now: int = 1_000, fresh: bool = False) -> Run:
    """A run of the project, at a moment."""
    return Runs(home, "p").begin(key, FakeClock(now), fresh)


def test_a_stage_is_done_once(tmp_path: Path) -> None:
    """Who goes on gets the files that were made before."""
    first, second = Work(a=b"1"), Work(b=b"2")
    run = begin(tmp_path)
    assert {"a": b"1"} == run.stage("first", first)
    again = begin(tmp_path, now=2_000)
    assert (run.id, 2) == (again.id, again.record.attempts)
    assert {"a": b"1"} == again.stage("first", first)
    assert {"b": b"2"} == again.stage("second", second)
    assert (1, 1) == (first.times, second.times)


def test_a_stage_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    """What it had written without finishing does not count."""

    def cut_off() -> Mapping[str, bytes]:
        (run.folder / "a").write_bytes(b"half")
        raise Killed

    run = begin(tmp_path)
    with pytest.raises(Killed):
        run.stage("first", cut_off)
    work = Work(a=b"whole")
    assert {"a": b"whole"} == begin(tmp_path).stage("first", work)
    assert 1 == work.times


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda p: p.write_bytes(b"other")])
def test_a_file_that_changed_is_made_again(tmp_path: Path, damage) -> None:
    """A lost or damaged file is as if the stage had never been."""
    work = Work(a=b"1")
    run = begin(tmp_path)
    run.stage("first", work)
    damage(run.folder / "a")
    assert {"a": b"1"} == begin(tmp_path).stage("first", work)
    assert 2 == work.times


@pytest.mark.parametrize(("found", "times"), [(b"1", 1), (b"other", 2)])
def test_what_was_made_of_a_stage_goes_with_it(tmp_path: Path, found: bytes, times: int) -> None:
    """Where a stage that is made again gives something else, those after it are made again too."""
    later = Work(b=b"2")
    run = begin(tmp_path)
    run.stage("first", Work(a=b"1"))
    run.stage("second", later)
    (run.folder / "a").unlink()
    again = begin(tmp_path)
    assert {"a": found} == again.stage("first", Work(a=found))
    again.stage("second", later)
    assert times == later.times
    assert ["first", "second"] == [stage.name for stage in again.record.stages]


def test_a_stage_that_cannot_be_used_any_more_is_forgotten(tmp_path: Path) -> None:
    """Those that are named; the others stay."""
    works = {name: Work(**{name: b"1"}) for name in ("a", "b", "c")}
    run = begin(tmp_path)
    for name, work in works.items():
        run.stage(name, work)
    run.forget("b")
    again = begin(tmp_path)
    assert ["a", "c"] == [stage.name for stage in again.record.stages]
    for name, work in works.items():
        again.stage(name, work)
    assert [1, 2, 1] == [work.times for work in works.values()]


def test_only_the_same_is_gone_on_with(tmp_path: Path) -> None:
    """Another request, one that is too old, one that ended and one told to begin afresh."""
    first = begin(tmp_path)
    assert "run0002" == begin(tmp_path, key="other").id
    assert "run0003" == begin(tmp_path).id
    assert "run0003" == begin(tmp_path, now=1_000 + GONE_ON_WITH_MS).id
    assert "run0004" == begin(tmp_path, now=1_001 + GONE_ON_WITH_MS).id
    assert "run0005" == begin(tmp_path, fresh=True).id
    last = begin(tmp_path, fresh=True)
    last.end("refused", ("worse",))
    assert "run0007" == begin(tmp_path).id
    assert ("refused", ["worse"]) == (
        Runs(tmp_path, "p").record(last.id).outcome,
        Runs(tmp_path, "p").record(last.id).reasons,
    )
    assert "run0001" == first.id


@pytest.mark.parametrize(("ahead", "name"), [(60_000, "run0001"), (GONE_ON_WITH_MS, "run0002")])
def test_a_clock_that_was_ahead_keeps_no_run_alive(tmp_path: Path, ahead: int, name: str) -> None:
    """A run that seems to begin a day or more from now is as old as nobody knows."""
    begin(tmp_path, now=1_001 + ahead)
    assert name == begin(tmp_path).id


def test_a_damaged_record_is_passed_over(tmp_path: Path) -> None:
    """A run nobody can read is left alone, and its name is not given again."""
    run = begin(tmp_path)
    (run.folder / RUN_FILE).write_bytes(b"{")
    assert "run0002" == begin(tmp_path).id
    assert ["run0002"] == [record.id for record in Runs(tmp_path, "p").records()]
    with pytest.raises(ArtifactError, match="run run0001"):
        Runs(tmp_path, "p").record("run0001")
