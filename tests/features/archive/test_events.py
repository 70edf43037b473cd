"""Archived records as the kernel takes them: those that count, in the order they became known."""

from __future__ import annotations

import json

import pyarrow as pa
from shops import HOUR, MINUTE, START, project, request

from features.archive.events import (
    Rules,
    each_once,
    knowledge_until,
    known_events,
    request_columns,
)
from features.archive.files import ARCHIVE_SCHEMAS
from features.plan import compile_plan
from tidemill import LabelRate, Project
from tidemill.topics import EVENTS, EXAMPLES, PREDICTIONS

PLAN = compile_plan(project)


def archive(*rows: dict) -> pa.Table:
    """Events as the archive has them; each is a visit unless it says otherwise."""
    found = []
    for row in rows:
        time = row.get("time", START)
        body = {"event": "visit", "time": time, "shop": "s", "floor": 1} | row.get("body", {})
        event = {"time": time, "event": body["event"], "body": json.dumps(body).encode()}
        place = {"partition": 0, "offset": len(found), "known_ms": time}
        found.append(place | row | event)
    return pa.Table.from_pylist(found, schema=ARCHIVE_SCHEMAS[EVENTS])


def floors(*rows: dict, rules: Rules = Rules()) -> list[float]:  # noqa: B008 - frozen
    """The floors of the visits that count, in order."""
    return known_events(PLAN, archive(*rows), None, rules).columns[1]["floor"].tolist()


def visit(floor: int, **row: object) -> dict:
    """A visit that is told by its floor."""
    return row | {"body": row.get("body", {}) | {"floor": floor}}


def test_partitions_are_merged_by_when_their_events_were_known() -> None:
    """Within a partition nothing is known before what stands ahead of it."""
    assert [1.0, 3.0, 2.0, 4.0] == floors(
        visit(1, known_ms=START),
        visit(2, known_ms=START + 9),
        visit(4, known_ms=START + 5),
        visit(3, known_ms=START + 7, partition=1),
    )


def test_history_is_known_at_its_own_time() -> None:
    """Rows that no log has ordered, and those of versions that noted no time."""
    history = {"partition": -1, "offset": -1, "known_ms": None}
    rows = archive(visit(2, time=START + MINUTE, **history), visit(1, time=START, **history))
    found = known_events(PLAN, rows, None, Rules())
    assert [1.0, 2.0] == found.columns[1]["floor"].tolist()
    assert [START, START + MINUTE] == found.known_ms[1].tolist()


def test_what_the_worker_refused_does_not_count() -> None:
    """Duplicates, malformed events, those from the future and those too late."""
    late = START - PLAN.reach_ms(1) - Rules().skew_ms - 1
    assert [1.0] == floors(
        visit(1, body={"id": "a"}),
        visit(2, body={"id": "a"}),
        visit(3, body={"shop": 7}),
        visit(4, body={"event": "unknown"}),
        visit(5, time=START + 2 * HOUR, known_ms=START),
        visit(6, time=late, known_ms=START),
    )


def test_a_field_that_is_not_declared_any_more_is_passed_over() -> None:
    """The event counted when it came."""
    assert [1.0] == floors(visit(1, body={"colour": "red"}))


def test_requests_are_columns_again() -> None:
    """Those of which every declared field is known; others are passed over."""
    good = json.dumps({"card": "c", "amount": 2.5, "time": START, "more": 1}).encode()
    columns, rows = request_columns(PLAN, [None, good, b'{"card":"c","time":5}', good])
    assert [1, 3] == rows.tolist()
    assert (["c", "c"], [2.5, 2.5], [START] * 2) == (
        columns["card"].tolist(), columns["amount"].tolist(), columns["time"].tolist()
    )  # fmt: skip
    assert [None, None] == columns["shop"].tolist()


def test_an_example_that_was_sent_again_is_one_label() -> None:
    """Labels are events of the moment they were said, known when they were joined."""
    rated = Project(
        "shop", project.events, request,
        (LabelRate("bad", (project.features[3].by[0],), ("24h",), 0.5),), project.label,
    )  # fmt: skip
    plan = compile_plan(rated)
    body = json.dumps({"card": "c", "amount": 1.0, "time": START}).encode()
    rows = [
        {"label": label, "label_time": START + 5, "known_ms": START + 9, "request": sent,
         "join_partition": 0, "sequence": sequence, "offset": offset}
        for offset, (label, sequence, sent) in enumerate(
            [(1, 1, body), (0, 2, None), (1, 1, body), (0, 3, body)]
        )
    ]  # fmt: skip
    examples = pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMAS[EXAMPLES])
    assert [0, 1, 3] == each_once(examples)["offset"].to_pylist()
    found = known_events(plan, archive(), examples, Rules())
    assert [1.0, 0.0] == found.columns[-1]["value"].tolist()
    assert (["c", "c"], [START + 5] * 2) == (
        found.columns[-1]["card"].tolist(), found.columns[-1]["time"].tolist()
    )  # fmt: skip
    assert [START + 9] * 2 == found.known_ms[-1].tolist()


def test_a_correction_is_no_label_of_its_own() -> None:
    """A rate counts a prediction once, by what was said first."""
    rated = Project(
        "shop", project.events, request,
        (LabelRate("bad", (project.features[3].by[0],), ("24h",), 0.5),), project.label,
    )  # fmt: skip
    body = json.dumps({"card": "c", "amount": 1.0, "time": START}).encode()
    rows = [
        {"label": label, "label_time": START + 5, "known_ms": START + 9, "request": body,
         "join_partition": 0, "sequence": offset + 1, "offset": offset, "kind": kind}
        for offset, (label, kind) in enumerate([(0, "missing"), (1, "correction"), (1, None)])
    ]  # fmt: skip
    examples = pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMAS[EXAMPLES])
    found = known_events(compile_plan(rated), archive(), examples, Rules())
    assert [0.0, 1.0] == found.columns[-1]["value"].tolist()


def test_knowledge_ends_before_the_scoring() -> None:
    """In a row of history, at its own time."""
    rows = [
        {"time": START, "scored_ms": START + 7, "offset": 0},
        {"time": START, "scored_ms": START, "offset": -1},
        {"time": START, "scored_ms": None, "offset": -1},
    ]
    table = pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMAS[PREDICTIONS])
    assert [START + 6, START, START] == knowledge_until(table).tolist()
