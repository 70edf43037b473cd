"""Steps with a barrier between what is known and what is asked."""

import numpy as np

from cli.demo.history import History
from cli.demo.timeline import Range, rows, steps


def history(events: list[int], asked: list[int], labels: list[tuple[int, int]]) -> History:
    """Events of one kind, requests and (asked, known) labels at these times."""
    known = sorted(labels, key=lambda label: label[1])
    return History(
        {"event": {"time": np.array(events)}},
        {"time": np.array(asked)},
        {
            "time": np.array([said for _, said in known]),
            "asked": np.array([when for when, _ in known]),
        },
    )


def walk(found: History, span: Range, from_ms: int | None = None) -> list[tuple]:
    """Each step's barrier with the times of its events, labels and requests."""
    return [
        (
            step.barrier_ms,
            found.events["event"]["time"][step.events["event"]].tolist(),
            found.labels["time"][step.labels].tolist(),
            found.requests["time"][step.requests].tolist(),
        )
        for step in steps(found, span, from_ms)
    ]


def test_requests_see_events_up_to_their_barrier_only():
    """An event at the barrier comes before the requests of its step, a later one after them."""
    found = history([5, 10, 11, 20], [10, 19], [])
    assert walk(found, Range(10, 30, 10)) == [
        (10, [5, 10], [], [10, 19]),
        (20, [11, 20], [], []),
        (30, [], [], []),
    ]


def test_events_before_from_are_left_out():
    """What a backfill has applied is not sent again."""
    found = history([5, 10, 11], [10], [])
    assert [step[1] for step in walk(found, Range(10, 20, 10), from_ms=5)] == [[10], [11]]


def test_steps_go_on_until_the_last_label_of_the_range():
    """Labels of the range's requests are all said, those of other requests never."""
    found = history([], [5, 12, 25], [(5, 13), (12, 37), (25, 26)])
    walked = walk(found, Range(10, 20, 10))
    assert [said for step in walked for said in step[2]] == [37]
    assert [asked for step in walked for asked in step[3]] == [12]


def test_rows_picks_the_same_rows_of_every_column():
    """A slice and row numbers both work."""
    table = {"time": np.array([1, 2, 3]), "name": np.array(["a", "b", "c"], object)}
    assert rows(table, slice(1, 3))["name"].tolist() == ["b", "c"]
    assert rows(table, np.array([2, 0]))["time"].tolist() == [3, 1]
