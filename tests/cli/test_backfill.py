"""What `tidemill backfill` says, and that only one of a state runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.backfill import Backfilled, _locked, in_words, summary
from tidemill.errors import LockedError
from tidemill.topics import Names

DONE = Backfilled("ferries", "a" * 12, "11111111", True, 12_345, 678, 1.25)


def test_what_was_done_and_what_is_next() -> None:
    """Entities, events, seconds, and the command that follows."""
    expected = (
        "ferries: state 11111111: 678 entities of 12,345 archived events in 1.2 s; "
        "start its worker beside the other: tidemill worker p.py"
    )
    assert expected == in_words(DONE, Path("p.py"))


def test_a_state_that_is_ready_is_left_alone() -> None:
    """Its worker may be running."""
    done = Backfilled("ferries", "a" * 12, "11111111", False, 0, 0, 0.0)
    expected = (
        "ferries: state 11111111 is ready, nothing to backfill; start its worker: "
        "tidemill worker p.py"
    )
    assert expected == in_words(done, Path("p.py"))


def test_a_script_gets_every_number() -> None:
    """All fields by name."""
    assert {
        "project": "ferries", "schema": "a" * 12, "state": "11111111", "made": True,
        "events": 12_345, "entities": 678, "seconds": 1.25,
    } == summary(DONE)  # fmt: skip


def test_two_of_one_state_do_not_run_at_once(tmp_path: Path) -> None:
    """The second is refused at once; another state's is not."""
    names = Names("ferries", 4, "11111111")
    with _locked(tmp_path, names):
        with pytest.raises(LockedError, match="state 11111111"), _locked(tmp_path, names):
            pass
        with _locked(tmp_path, Names("ferries", 4, "22222222")):
            pass
    with _locked(tmp_path, names):
        pass
