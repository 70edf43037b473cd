"""Every aggregate over every window behind every filter, against brute force over raw events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import window_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from window_oracle import DAY, HOUR, Row
from window_streams import (
    MOMENTS,
    PATIENT,
    PROJECTS,
    ages,
    apply,
    batches,
    check,
    plan_of,
    replayed,
    streams,
)

from features.arena import Arena
from features.columns import entity_keys, window_rows
from features.plan import FeaturePlan
from features.replay import Replayer
from features.vectors import Assembler, entity_rows


@pytest.mark.parametrize("name", ["forever", "passing"])
@given(rows=streams(), first=st.integers(0, 30), later=ages, last=ages)
@settings(max_examples=40, **PATIENT)
def test_every_feature_equals_brute_force(
    name: str, rows: list[Row], first: int, later: int, last: int
) -> None:
    """In any order of arrival, from the newest event's moment on, halfway and at the end."""
    project = PROJECTS[name]
    rows = rows if name == "forever" else [row for row in rows if row.kind != "label"]
    replayer = Replayer(plan_of(name))
    for begin, end in ((0, first), (first, len(rows))):
        apply(replayer, rows[begin:end])
        newest = max((row.time for row in rows[:end]), default=MOMENTS[0] + 1)
        asked = [
            Row(newest, card="a", shop="s"),
            Row(newest + later, card="a", shop="t"),
            Row(newest + last, card="b", shop="s"),
            Row(newest + 1, card="never seen", shop=None),
        ]
        check(project, replayer, rows[:end], asked)


@pytest.mark.parametrize("over", oracle.LENGTHS)
def test_the_edges_of_a_window_are_exact(over: str) -> None:
    """An event at the tail's tile edge is in, a millisecond earlier out, however large the time."""
    plan = plan_of("passing")
    place = plan.schema.names.index(f"plain_count_card_{over}")
    length = oracle.length_of(over)
    step = oracle.step_of(length)
    for start in MOMENTS:
        asked = Row((start // step + 1) * step + 100 * DAY + step // 3)
        edge = (asked.time - length) // step * step
        cases = {edge - 1: 0, edge: 1, edge + 1: 1, asked.time - 1: 1, asked.time: 1}
        for time, inside in cases.items():
            replayer = replayed(plan, [Row(time), Row(asked.time, card="b")])
            vector = replayer.vectors(oracle.columns_of([asked]))[0]
            assert inside == vector[place], (start, time - edge)
            expected = oracle.expected(oracle.PASSING, [Row(time)], asked)
            assert {} == oracle.mismatches(plan.schema.names, expected, vector)


@pytest.mark.parametrize("over", ["59min", "11h", "24h", "12d"])
@given(rows=streams(("payment",)), back=ages)
@settings(max_examples=40, **PATIENT)
def test_a_request_before_the_newest_event_reads_what_is_kept(
    over: str, rows: list[Row], back: int
) -> None:
    """Tiles after the request's own are not read; those a window behind the newest are gone."""
    plan = plan_of(over)
    newest = max((row.time for row in rows if row.card == "a"), default=1)
    asked = Row(max(1, newest - back))
    step, length = oracle.step_of(oracle.length_of(over)), oracle.length_of(over)
    # Values, not events, move a ring on.
    known = [row for row in rows if row.card == "a" and row.amount == row.amount]
    oldest = max((row.time for row in known), default=1) // step - -(-length // step)
    kept = [row for row in known if row.time // step >= oldest]
    vector = replayed(plan, rows).vectors(oracle.columns_of([asked]))[0]
    expected = oracle.expected(PROJECTS[over], kept, asked)
    assert {} == oracle.mismatches(plan.schema.names, expected, vector)


@pytest.mark.parametrize("name", ["passing", "idle"])
@given(rows=streams(), cuts=st.lists(st.integers(1, 8), min_size=1, max_size=10), later=ages)
@settings(max_examples=40, **PATIENT)
def test_how_a_stream_is_cut_changes_no_bit(
    name: str, rows: list[Row], cuts: list[int], later: int
) -> None:
    """A micro-batch folds kind after kind; however it is cut, state and vectors are the same."""
    rows = [row for row in rows if row.kind != "label"]
    whole, cut = replayed(plan_of(name), rows), Replayer(plan_of(name))
    for begin, end in pairwise([*np.cumsum([0, *cuts]).tolist(), len(rows)]):
        apply(cut, sorted(rows[begin:end], key=lambda row: row.kind))
    assert sorted(whole.blobs()) == sorted(cut.blobs())
    newest = max((row.time for row in rows), default=1) + later
    asked = oracle.columns_of([Row(newest, card=c, shop=s) for c in "ab" for s in "st"])
    assert whole.vectors(asked).tobytes() == cut.vectors(asked).tobytes()


def forgotten(rows: Sequence[Row], expires_ms: int, asked_ms: int) -> list[Row]:
    """The rows that count for an entity that forgets, kind by kind; rows are in time order."""
    kept: dict[str, list[Row]] = {}
    for row in rows:
        own = kept.setdefault(row.kind, [])
        if own and row.time - own[-1].time > expires_ms:
            own.clear()
        own.append(row)
    recent = [own for own in kept.values() if asked_ms - own[-1].time <= expires_ms]
    return sorted((row for own in recent for row in own), key=lambda row: row.time)


gaps = st.sampled_from([0, 1, HOUR, DAY, 2 * DAY - 1, 2 * DAY, 2 * DAY + 1, 3 * DAY, 40 * DAY])


@given(
    steps=st.lists(
        st.tuples(gaps, st.sampled_from(["payment", "visit"]), st.integers(0, 3)), max_size=12
    ),
    cuts=st.lists(st.integers(1, 4), max_size=6),
    later=gaps,
)
@settings(max_examples=100, **PATIENT)
def test_an_idle_entity_is_forgotten_with_everything_about_it(
    steps: list[tuple[int, str, int]], cuts: list[int], later: int
) -> None:
    """With `expires`, lifetimes and sketches too begin anew after so long without any event."""
    plan, time, rows = plan_of("idle"), MOMENTS[6], []
    for gap, kind, amount in steps:
        time += gap
        rows.append(Row(time, kind, amount=float(amount)))
    asked = Row(time + later)
    expected = oracle.expected(oracle.IDLE, forgotten(rows, 2 * DAY, asked.time), asked)
    replayer = Replayer(plan)
    for begin, end in pairwise([*np.cumsum([0, *cuts]).tolist(), len(rows)]):
        apply(replayer, sorted(rows[begin:end], key=lambda row: row.kind))
    vector = replayer.vectors(oracle.columns_of([asked]))[0]
    assert {} == oracle.mismatches(plan.schema.names, expected, vector)


TRICKY = ["a", "a\x1f", "\x1fa", "a\x1fa", "", "0", "é", "a|a", "\x1b", "\x1b1", "{a}", ":"]


@given(keys=st.lists(st.tuples(*[st.sampled_from([*TRICKY, None])] * 2), max_size=40))
@settings(max_examples=40, **PATIENT)
def test_composite_keys_never_mix(keys: list[tuple[str | None, str | None]]) -> None:
    """Whatever characters the parts have, each pair counts its own events; a missing part none."""
    newest = MOMENTS[3]
    replayer = replayed(plan_of("pairs"), [Row(newest, card=c, shop=s) for c, s in keys])
    asked = [(c, s) for c in [*TRICKY, None] for s in [*TRICKY, None]]
    place = replayer.plan.schema.names.index("pairs_count_card_shop_1h")
    found = replayer.vectors(oracle.columns_of([Row(newest, card=c, shop=s) for c, s in asked]))
    expected = [0 if None in pair else keys.count(pair) for pair in asked]
    assert expected == found[:, place].tolist()


class RestartingWorker:
    """Folds like a worker that restarts after every event: blob out of a store, blob in again."""

    def __init__(self, plan: FeaturePlan) -> None:
        self.plan = plan
        self.stored: dict[tuple[str, str], bytes] = {}
        self._kinds = {event.name: index for index, event in enumerate(plan.events)}

    def apply(self, kind: str, rows: Sequence[Row]) -> None:
        """Fold one micro-batch of one kind into entities that were not in memory."""
        columns = oracle.columns_of(rows)
        for entity, group in self.plan.groups_of(self._kinds[kind]):
            found = window_rows(entity, group, columns, len(rows))
            arena, name = Arena(entity), entity.entity.name
            arena.load(found.keys, [self.stored.get((name, key)) for key in found.keys])
            times = columns["time"][found.rows]
            arena.fold(group, found.keys, found.codes, times, found.values)
            for key, blob in zip(found.keys, arena.blobs_of(found.keys), strict=True):
                self.stored[name, key] = blob

    def vectors(self, asked: Sequence[Row]) -> np.ndarray:
        """Vectors as the api makes them, from stored blobs."""
        columns = oracle.columns_of(asked)
        rows = []
        for entity in self.plan.entities:
            keys = entity_keys(entity, columns)
            blobs = [self.stored.get((entity.entity.name, key or "")) for key in keys]
            rows.append(entity_rows(entity, blobs, np.arange(len(keys))))
        return Assembler(self.plan).assemble(columns, rows).matrix


@pytest.mark.parametrize("name", ["forever", "passing"])
@given(rows=streams(), batch=st.integers(1, 5), later=ages)
@settings(max_examples=40, **PATIENT)
def test_a_worker_that_restarts_after_every_micro_batch_changes_no_bit(
    name: str, rows: list[Row], batch: int, later: int
) -> None:
    """Blobs that were stored and restored at every point, and vectors from them, are identical."""
    plan = plan_of(name)
    rows = rows if name == "forever" else [row for row in rows if row.kind != "label"]
    worker = RestartingWorker(plan)
    for kind, run in batches(rows):
        for begin in range(0, len(run), batch):
            worker.apply(kind, run[begin : begin + batch])
    replayer = replayed(plan, rows)
    assert {(e, k): blob for e, k, blob in replayer.blobs()} == worker.stored
    newest = max((row.time for row in rows), default=1) + later
    asked = [Row(newest, card=c, shop=s) for c in ("a", "b") for s in ("s", None)]
    expected = replayer.vectors(oracle.columns_of(asked))
    assert expected.tobytes() == worker.vectors(asked).tobytes()
