"""Streams of events as hypothesis draws them, and the kernel run over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import groupby

import window_oracle as oracle
from hypothesis import HealthCheck
from hypothesis import strategies as st
from window_oracle import DAY, HOUR, MINUTE, NAN, Row

from features.plan import FeaturePlan, compile_plan
from features.replay import Replayer
from tidemill import Project
from tidemill.declaration import LABEL_EVENT

# Drawing thirty events takes a loaded machine longer than hypothesis likes.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
PROJECTS = {
    "forever": oracle.FOREVER,
    "passing": oracle.PASSING,
    "idle": oracle.IDLE,
    "pairs": oracle.PAIRS,
    **{over: oracle.one_length(over) for over in ("59min", "11h", "24h", "12d")},
}
STEPS = (MINUTE, 5 * MINUTE, HOUR, DAY)
LENGTHS = [oracle.length_of(over) for over in oracle.LENGTHS]


def moment(text: str) -> int:
    """A UTC time in ms."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


MOMENTS = [
    moment(text)
    for text in (
        "1970-01-01T00:00", "1970-04-05T00:00", "1999-12-31T23:59:59.999", "2000-02-29T12:00",
        "2012-02-28T23:59:59.999", "2012-12-31T23:59:59", "2013-03-10T10:00",  # summer time in
        "2013-03-31T01:00", "2013-10-27T01:00", "2013-11-03T06:00",  # and out, US and Europe
        "2038-01-19T03:14:08", "2100-03-01T00:00", "9999-12-31T23:59:59.999",
    )
] + [2**53]  # fmt: skip


@cache
def plan_of(name: str) -> FeaturePlan:
    """A project, compiled."""
    return compile_plan(PROJECTS[name])


def event_name(kind: str) -> str:
    """The name under which the kernel takes a kind of row."""
    return LABEL_EVENT if kind == "label" else kind


def batches(rows: Sequence[Row]) -> Iterable[tuple[str, list[Row]]]:
    """Runs of one kind, in the order they came."""
    for kind, run in groupby(rows, key=lambda row: row.kind):
        yield event_name(kind), list(run)


def replayed(plan: FeaturePlan, rows: Sequence[Row]) -> Replayer:
    """The kernel after some events in the order they came."""
    replayer = Replayer(plan)
    apply(replayer, rows)
    return replayer


def apply(replayer: Replayer, rows: Sequence[Row]) -> None:
    """Fold some more events in the order they came."""
    for kind, run in batches(rows):
        replayer.apply(kind, oracle.columns_of(run))


def check(project: Project, replayer: Replayer, rows: Sequence[Row], asked: Sequence[Row]) -> None:
    """Every feature of every request is that of the definition."""
    names = replayer.plan.schema.names
    for row, vector in zip(asked, replayer.vectors(oracle.columns_of(asked)), strict=True):
        assert {} == oracle.mismatches(names, oracle.expected(project, rows, row), vector)


# Around tile edges and window lengths, where a mistake by one would show.
edges = st.builds(
    lambda step, many, off: step * many + off,
    st.sampled_from(STEPS), st.integers(0, 13), st.sampled_from([-1, 0, 1]),
)  # fmt: skip
reaches = st.builds(lambda ms, off: ms + off, st.sampled_from(LENGTHS), st.integers(-2, 2))
ages = st.one_of(edges, reaches, st.integers(0, 3 * MINUTE), st.integers(0, 100 * DAY)).map(abs)
amounts = st.integers(-8, 40).map(lambda quarters: quarters / 4) | st.just(NAN)


@st.composite
def streams(draw: st.DrawFn, kinds: tuple[str, ...] = ("payment", "visit", "label")) -> list[Row]:
    """Up to 30 events, each so much older than one moment, in any order or in that of time."""
    newest = draw(st.sampled_from(MOMENTS)) + draw(st.integers(0, DAY))
    rows = draw(
        st.lists(
            st.builds(
                Row,
                time=ages.map(lambda age: max(1, newest - age)),
                kind=st.sampled_from(kinds),
                card=st.sampled_from("ab"),
                shop=st.sampled_from(["s", "t"]),
                amount=amounts,
                units=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
                online=st.sampled_from([0.0, 1.0, NAN]),
                value=st.sampled_from([0.0, 1.0]),
            ),
            max_size=30,
        )
    )
    return sorted(rows, key=lambda row: row.time) if draw(st.booleans()) else rows
