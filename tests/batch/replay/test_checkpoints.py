"""What was learned again is kept, so that the next replay is quick; what is damaged is not used."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from past_world import Past

from batch.replay.checkpoints import Checkpoints, Line
from batch.replay.past_learners import MOST_KEPT
from batch.replay.replay import replay
from batch.replay.report import ARCHIVE_GAP, Report
from features.archive.logged_examples import LoggedExamples
from learners.snapshot import Snapshot

EVERY = 7


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """A release that has learned some dozen examples."""
    made = Past(tmp_path)
    made.release()
    made.learn_on("r0001")
    made.live(200)
    return made


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    """Where they are kept."""
    return Checkpoints(tmp_path / "kept")


def last(past: Past, kept: Checkpoints | None) -> Report:
    """The last prediction replayed."""
    return replay(past.sources(checkpoints=kept, every=EVERY), [past.predictions[-1].id])


def files(kept: Path) -> list[Path]:
    """The checkpoints, by offset."""
    return sorted(kept.glob("*.snapshot"), key=lambda path: path.stem[-12:])


def test_a_second_replay_reads_only_the_end_of_the_log(
    past: Past, kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from the last state that is kept, and says the same."""
    first, begun = last(past, kept), []
    read = LoggedExamples.between

    def between(self: LoggedExamples, start: int, end: int):
        begun.append(start)
        return read(self, start, end)

    monkeypatch.setattr(LoggedExamples, "between", between)
    assert first == last(past, kept)
    offset = past.predictions[-1].offset
    assert [offset - offset % EVERY] == begun
    assert first.exact


def test_states_are_kept_at_fixed_offsets(past: Past, kept: Checkpoints, tmp_path: Path) -> None:
    """Whatever is replayed, so that there are no two beside each other."""
    for made in past.predictions[::5]:
        replay(past.sources(checkpoints=kept, every=EVERY), [made.id])
    end = max(made.offset for made in past.predictions[::5])
    expected = list(range(EVERY, end + 1, EVERY))
    assert expected == [int(path.stem[-12:]) for path in files(tmp_path / "kept")]


def test_what_the_archive_has_lost_is_still_replayed(past: Past, kept: Checkpoints) -> None:
    """From a checkpoint behind the gap; without one it is said."""
    assert last(past, kept).exact
    (lost,) = past.home.rglob("topic=examples/date=*/0-000000000000-*.parquet")
    lost.unlink()
    assert last(past, kept).exact
    (found,) = last(past, None).predictions
    assert found.problem is not None and ARCHIVE_GAP == found.problem.cause


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, None])
def test_a_damaged_state_is_dropped(
    past: Past, kept: Checkpoints, tmp_path: Path, damage: bytes | None
) -> None:
    """Cut off, overwritten, or a state of something else: the one before it is gone on from."""
    last(past, kept)
    newest = files(tmp_path / "kept")[-1]
    if damage is None:
        saved = Snapshot.decode(newest.read_bytes())
        newest.write_bytes(Snapshot.decode(saved.encode()).encode()[:60] + b"x" * 200)
    else:
        newest.write_bytes(damage)
    assert last(past, kept).exact
    assert Snapshot.decode(newest.read_bytes()).offset == int(newest.stem[-12:])


def test_another_release_or_range_has_states_of_its_own() -> None:
    """A name stands for all that decides the state; a range ahead does not matter yet."""
    line = Line("r0001", "key", ((10, 20), (40, 50)))
    assert line.name(30) == Line("r0001", "key", ((10, 20),)).name(30)
    assert line.name(9) == Line("r0001", "key", ()).name(9)
    names = {
        line.name(45), Line("r0001", "key", ((10, 20),)).name(45), line.name(46),
        Line("r0001", "else", line.skipped).name(45), Line("r0002", "key", line.skipped).name(45),
    }  # fmt: skip
    assert 5 == len(names)


def state(offset: int, size: int = 100) -> Snapshot:
    """A state of so many bytes."""
    return Snapshot("head", "r0001", 0, 0, "s", 0, offset, {}, b"\0" * size, 0)


LINE = Line("r0001", "key", ())


def test_those_used_longest_ago_make_room(tmp_path: Path) -> None:
    """And so does what a killed replay left half written."""
    size = len(state(1).encode())
    kept = Checkpoints(tmp_path, 4 * size)
    (tmp_path / ".left.123.tmp").write_bytes(b"half")
    for offset in (1, 2, 3, 4):
        kept.keep(LINE, state(offset))
        os.utime(tmp_path / f"{LINE.name(offset)}.snapshot", (offset, offset))
    assert kept.best(LINE, 1) is not None
    kept.keep(LINE, state(5))
    assert [1, 3, 4, 5] == [int(path.stem[-12:]) for path in files(tmp_path)]
    assert [] == list(tmp_path.glob(".*.tmp"))


def test_one_that_would_push_out_the_others_is_not_kept(tmp_path: Path) -> None:
    """More than a quarter of the room."""
    kept = Checkpoints(tmp_path, 1_000)
    kept.keep(LINE, state(1, 300))
    assert not kept.has(LINE, 1)


def test_a_folder_that_cannot_be_written_costs_only_time(past: Past, tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "kept").write_bytes(b"")
    assert last(past, Checkpoints(tmp_path / "kept")).exact


def test_a_long_way_keeps_few_states(past: Past, kept: Checkpoints, tmp_path: Path) -> None:
    """Beside these the last before its goal, from where the next replay goes on."""
    made = past.predictions[-1]
    found = replay(past.sources(checkpoints=kept, every=1), [made.id])
    offsets = [int(path.stem[-12:]) for path in files(tmp_path / "kept")]
    assert found.exact
    assert 32 < made.offset
    assert MOST_KEPT >= len(offsets) - 1 > MOST_KEPT // 2 - 1
    assert made.offset == offsets[-1]
    (step,) = {after - before for before, after in pairwise(offsets[:-1])}
    assert all(offset % step == 0 for offset in offsets[:-1])
