"""Duplicates and late events leave every window right, and who judges them decides alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from window_oracle import DAY, HOUR, Row
from window_streams import MOMENTS, PATIENT, ages, check, plan_of, streams

from features.admission import Admission
from features.decoding import EventDecoder
from features.plan import FeaturePlan
from features.replay import Replayer
from tidemill.clock import FakeClock

SKEW, DUPLICATES = HOUR, 6


@dataclass(frozen=True)
class Sent:
    """One record of the log of events."""

    offset: int
    value: bytes
    key: bytes | None = None
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def log_of(rows: Sequence[Row], ids: Sequence[str | None]) -> list[Sent]:
    """Payments and visits as producers send them."""
    sent = []
    for offset, (row, known) in enumerate(zip(rows, ids, strict=True)):
        body = {"event": row.kind, "time": row.time, "card": row.card, "shop": row.shop}
        body |= {"units": row.units} if known is None else {"units": row.units, "id": known}
        if row.kind == "payment":
            body |= {
                "amount": None if row.amount != row.amount else row.amount,
                "online": None if row.online != row.online else row.online == 1,
            }
        sent.append(Sent(offset, msgspec.json.encode(body), timestamp=max(MOMENTS)))
    return sent


def admission_of(plan: FeaturePlan, stream_time: int = 0) -> Admission:
    """The judge of one partition."""
    decoder = EventDecoder(plan.project, FakeClock(max(MOMENTS)), SKEW)
    return Admission(plan, decoder, DUPLICATES, stream_time)


def accepted(rows: Sequence[Row], ids: Sequence[str | None]) -> list[int]:
    """The places of those events that are neither too late nor sent within so many before.

    Too late is what no window of its kind reaches from the newest event before it, skew allowed.
    """
    found, newest, last_place = [], 0, dict[str, int]()
    for place, (row, known) in enumerate(zip(rows, ids, strict=True)):
        # The longest window is of 90 days; its tail may reach a day further back.
        on_time = row.time >= newest - 91 * DAY - SKEW
        repeated = known is not None and place - last_place.get(known, -99) <= DUPLICATES
        newest = max(newest, row.time)
        if known is not None:
            last_place[known] = place
        if on_time and not repeated:
            found.append(place)
    return found


@given(data=st.data(), rows=streams(("payment", "visit")), later=ages)
@settings(max_examples=40, **PATIENT)
def test_duplicates_and_what_comes_too_late_change_no_feature(
    data: st.DataObject, rows: list[Row], later: int
) -> None:
    """Repeated events count once, and what is refused as too late could not have counted."""
    plan = plan_of("passing")
    rows = [replace(row, card=row.card or "a") for row in rows if row.time > 100 * DAY]
    again = data.draw(st.lists(st.integers(0, 5), min_size=len(rows), max_size=len(rows)))
    sent: list[tuple[Row, str | None]] = []
    for number, (row, back) in enumerate(zip(rows, again, strict=True)):
        sent.append((row, f"id{number}" if back else None))
        if back and len(sent) > back:
            sent.append(sent[-1 - back])  # an earlier record once more
    log = log_of([row for row, _ in sent], [known for _, known in sent])
    kept = accepted([row for row, _ in sent], [known for _, known in sent])
    decision = admission_of(plan).judge(log)
    admitted = sorted(o for each in decision.admitted.values() for o in each.offsets.tolist())
    assert kept == admitted
    replayer = Replayer(plan)
    for kind, each in decision.admitted.items():
        replayer.apply(plan.project.events[kind].name, each.columns)
    counted = [sent[place][0] for place in kept]
    newest = max((row.time for row in rows), default=MOMENTS[4]) + later
    check(plan.project, replayer, counted, [Row(newest), Row(newest, card="b", shop="t")])


@given(
    data=st.data(),
    times=st.lists(st.sampled_from([0, 1, 100 * DAY, 200 * DAY]), min_size=1, max_size=20),
    cuts=st.sets(st.integers(0, 20)),
)
@settings(max_examples=100, **PATIENT)
def test_a_restart_of_the_judge_decides_no_event_differently(
    data: st.DataObject, times: list[int], cuts: set[int]
) -> None:
    """However the log is cut, and after every restart, the same events are refused."""
    plan, total = plan_of("passing"), len(times)
    ids = data.draw(st.lists(st.sampled_from(["x", "y", None]), min_size=total, max_size=total))
    log = log_of([Row(MOMENTS[4] + time) for time in times], ids)
    whole = admission_of(plan).judge(log)
    expected = [(message.offset, error.cause) for message, error in whole.refused]
    found, stream_time = [], 0
    for begin, end in pairwise(sorted({0, total, *(cut for cut in cuts if cut < total)})):
        judge = admission_of(plan, stream_time)
        judge.note(log[max(0, begin - DUPLICATES) : begin])
        refused = judge.judge(log[begin:end]).refused
        found += [(message.offset, error.cause) for message, error in refused]
        stream_time = judge.stream_time
    assert expected == found
