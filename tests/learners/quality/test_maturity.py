"""How labels come is estimated right while the newest predictions still wait for most of theirs."""

from __future__ import annotations

import numpy as np
import pytest

from learners.quality.buckets import KEPT, MATURE, PER_WAIT, Buckets, step_of
from learners.quality.maturity import delay_bins, delay_edges, shares_by_age
from tidemill.durations import DAY_MS, HOUR_MS, MINUTE_MS
from tidemill.quality import Maturity
from tidemill.tasks import BINARY

WAIT = DAY_MS
START = 1_400_000_000_000 // step_of(WAIT) * step_of(WAIT)


def labelled(until: int, seed: int = 1, growth: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Times and delays of the labels that came until this time; delays are exponential, 3 h."""
    rng = np.random.default_rng(seed)
    share = rng.random(60_000) ** (1 / (1 + growth))  # the later, the more predictions
    times = START + (share * (until - START)).astype(np.int64)
    delays = np.minimum(rng.exponential(3 * HOUR_MS, len(times)), WAIT).astype(np.int64)
    came = times + delays <= until
    return times[came], delays[came]


def expected_share(age_ms: float) -> float:
    """The share of labels that has come by this age."""
    return 1.0 if age_ms >= WAIT else 1 - np.exp(-age_ms / (3 * HOUR_MS))


def filled(until: int, growth: float = 0.0) -> Buckets:
    """Buckets that have seen those labels."""
    times, delays = labelled(until, growth=growth)
    made = Buckets(BINARY, ("service",), WAIT, step_of(WAIT))
    order = np.argsort(times + delays, kind="stable")
    for some in np.array_split(order, 50):
        ones = np.ones(len(some))
        made.add(times[some], ones, 0.5 * ones[None, :], ones)
        made.note_delays(times[some], delays[some])
    return made


@pytest.mark.parametrize("growth", [0.0, 4.0])
def test_young_buckets_do_not_fool_the_estimate(growth: float) -> None:
    """It is right also while traffic grows, where most of what was counted is young."""
    now = START + 2 * WAIT
    made = filled(now, growth)
    found = made.maturity(now, START, None)
    assert found.known
    for age, share in zip(found.ages_ms, found.shares, strict=True):
        if age > MINUTE_MS:
            assert expected_share(age) == pytest.approx(share, abs=0.02)


def test_counting_as_it_is_would_be_fooled() -> None:
    """The plain share of delays seen so far is far from the truth: what the estimator is for."""
    now = START + 2 * WAIT
    _, delays = labelled(now, growth=4.0)
    plain = float((delays <= HOUR_MS * 2).mean())
    assert plain > expected_share(2 * HOUR_MS) + 0.05


def test_nothing_is_known_before_the_wait_has_passed_once() -> None:
    """Labels that take longer than anything seen cannot be ruled out."""
    now = START + WAIT // 2
    made = filled(now)
    unknown = made.maturity(now, START, None)
    assert not unknown.known
    assert all(bucket.young for bucket in made.report(now, START, unknown))


def test_what_an_earlier_worker_knew_helps() -> None:
    """Its curve stands in until this worker's own is known."""
    edges = delay_edges(WAIT)
    before = Maturity(
        WAIT, True, [int(edge) for edge in edges], [expected_share(edge) for edge in edges]
    )
    now = START + WAIT // 2
    made = filled(now)
    buckets = made.report(now, START, made.maturity(now, START, before))
    assert [False, True] == [buckets[0].young, buckets[-1].young]


def test_buckets_say_how_much_has_come() -> None:
    """A bucket's maturity is near its share of labels that came; young ones are marked."""
    now = START + 2 * WAIT
    made = filled(now)
    buckets = made.report(now, START, made.maturity(now, START, None))
    full = 60_000 / (2 * WAIT / step_of(WAIT))
    assert 2 * PER_WAIT == len(buckets)
    for bucket in buckets:
        assert bucket.examples / full == pytest.approx(bucket.maturity, abs=0.05)
        assert bucket.young == (bucket.maturity < MATURE)
        assert not bucket.partial
    assert [False, True] == [buckets[0].young, buckets[-1].young]


def test_buckets_of_before_the_start_are_partial() -> None:
    """Their early labels came to somebody else, so they teach nothing about delays."""
    now = START + 2 * WAIT
    made = filled(now)
    since = START + WAIT
    partial = [
        bucket.partial for bucket in made.report(now, since, made.maturity(now, since, None))
    ]
    assert [True] * PER_WAIT + [False] * PER_WAIT == partial


def test_old_buckets_leave() -> None:
    """What is older than the ring is neither kept nor allowed to displace anything."""
    made, step = Buckets(BINARY, ("service",), WAIT, step_of(WAIT)), step_of(WAIT)
    one = np.ones(1)
    for number in range(KEPT + 10):
        made.add(np.array([START + number * step]), one, one[None, :] / 2, one)
    made.add(np.array([START]), one, one[None, :] / 2, one)
    buckets = made.report(START, START, Maturity(WAIT, False, [], []))
    assert [START + n * step for n in range(10, KEPT + 10)] == [b.from_ms for b in buckets]
    assert {1} == {bucket.examples for bucket in buckets}


@pytest.mark.parametrize(
    ("wait", "step"), [(MINUTE_MS, 5_000), (HOUR_MS, 5 * MINUTE_MS), (DAY_MS, 2 * HOUR_MS),
                       (7 * DAY_MS, 14 * HOUR_MS)],
)  # fmt: skip
def test_steps_are_round(wait: int, step: int) -> None:
    """A dozen cover the wait."""
    assert step_of(wait) in (step, DAY_MS)


def test_delays_have_their_bins() -> None:
    """A delay of the whole wait or more has the last bin for itself."""
    edges = delay_edges(WAIT)
    bins = delay_bins(np.array([0, WAIT - 1, WAIT, WAIT + 5]), edges)
    assert [0, len(edges) - 2, len(edges) - 1, len(edges) - 1] == bins.tolist()
    assert shares_by_age(np.zeros((2, len(edges)), np.int64), np.zeros(2), edges) is None
