"""What a peer tells of itself."""

import json
from pathlib import Path

from bench.peers.tally import Tally, Task


def tally(tmp_path: Path, events: int) -> Tally:
    """A tally that waits for so many events."""
    return Tally(Task("b:1", "t", 4, "g", events, 60.0, str(tmp_path / "found.json")))


def test_the_last_event_ends_the_task(tmp_path: Path) -> None:
    """`note` is true exactly when all events were seen."""
    told = tally(tmp_path, 3)
    assert [False, False, True] == [told.note(1.0) for _ in range(3)]


def test_time_ends_the_task(tmp_path: Path) -> None:
    """A peer that is slow stops when its time is over."""
    task = Task("b:1", "t", 4, "g", 10_000, 0.0, str(tmp_path / "found.json"))
    told = Tally(task)
    seen = next(count for count in range(1, 10_000) if told.note(1.0))
    assert 256 == seen


def test_the_result_has_counts_and_totals(tmp_path: Path) -> None:
    """What is written can be compared and divided."""
    told = tally(tmp_path, 2)
    for amount in (1.5, 2.0):
        told.note(amount)
    told.write({"c1": [2, 3.5]})
    found = json.loads((tmp_path / "found.json").read_text())
    assert (2, 3.5, {"c1": [2, 3.5]}) == (found["events"], found["sum"], found["totals"])
