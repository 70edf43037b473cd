"""The skew meter says how many served vectors are not what the log gives, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from archived import (
    HOUR,
    MINUTE,
    NEW,
    OLD,
    START,
    Archived,
    Oracle,
    live,
    project,
)
from msgspec import structs

from batch.skew import Sample, SkewReport, measure_skew
from features.archive.events import Rules
from features.plan import compile_plan

EVERYTHING = Sample(1.0, None, 2**62)
BODY = {"card": "c1", "shop": "s1", "amount": 8.0}
PAID = {"card": "c1", "shop": "s1"}


def measure(home: Path, sample: Sample = EVERYTHING, features: tuple = OLD) -> SkewReport:
    """What the meter says of an archive."""
    return measure_skew(home, compile_plan(project(features)), Rules(), sample)


@pytest.fixture
def archived(tmp_path: Path) -> Archived:
    """An archive with one payment, long before everything else."""
    found = Archived(tmp_path)
    found.event(START, **PAID, amount=2.0)
    return found


@pytest.fixture
def oracle() -> Oracle:
    """A service that has seen that payment."""
    found = Oracle(OLD)
    found.event(START, **PAID, amount=2.0)
    return found


def test_a_stream_without_surprises_has_no_skew(tmp_path: Path) -> None:
    """What was served from events in order is what they give, bit for bit."""
    archived, oracle = Archived(tmp_path), Oracle(OLD)
    rng = np.random.default_rng(1)
    for minute in range(1, 300):
        now, card = START + minute * MINUTE, f"c{rng.integers(3)}"
        amount = float(np.float32(rng.lognormal(2)))
        body = {"card": card, "shop": "s1", "amount": amount}
        if minute % 3:
            archived.event(now, partition=minute % 2, **body)
            oracle.event(now, **body)
        else:
            archived.score(now, oracle.vector(now, **body), **body)
    found = measure(archived.write())
    assert (99, 99, 99, 0, 0) == (
        found.sampled, found.checked, found.equal, found.rounding, found.mismatched,
    )  # fmt: skip
    assert 0.0 == found.rate


def test_what_came_later_is_late(tmp_path: Path) -> None:
    """In a stream with late events every mismatch is told from what was known when it was made."""
    archived, _ = live(tmp_path)
    found = measure(archived.home)
    assert len(archived.predictions) == found.checked
    assert {"late"} == set(found.causes)
    assert 0 < found.mismatched < found.checked
    assert found.mismatched == found.causes["late"]


def test_an_event_that_was_not_applied_yet_is_late(archived: Archived, oracle: Oracle) -> None:
    """Known to the broker before the scoring, in the store after it."""
    now = START + MINUTE
    archived.event(now, **PAID, amount=3.0)
    archived.score(now + 20, oracle.vector(now + 20, **BODY), **BODY)
    assert {"late": 1} == measure(archived.write()).causes


def test_an_event_after_the_request_is_out_of_order(archived: Archived, oracle: Oracle) -> None:
    """A request for a moment that has passed reads windows that have moved on."""
    now = START + 3 * HOUR
    archived.event(now, **PAID, amount=3.0)
    oracle.event(now, **PAID, amount=3.0)
    asked = START + MINUTE
    archived.event(asked, **PAID, amount=100.0)
    oracle.event(asked, **PAID, amount=100.0)
    now += MINUTE
    archived.event(now, asked + 1, **PAID, amount=4.0)
    oracle.event(asked + 1, **PAID, amount=4.0)
    archived.score(now + 9, oracle.vector(asked, **BODY), asked, **BODY)
    assert {"out_of_order": 1} == measure(archived.write()).causes


def test_an_event_from_the_future_is_the_clocks(archived: Archived, oracle: Oracle) -> None:
    """A producer whose clock is ahead of the broker's changes vectors before its time."""
    now = START + MINUTE
    archived.event(now, now + 20_000, **PAID, amount=3.0)
    oracle.event(now + 20_000, **PAID, amount=3.0)
    archived.score(now + 5, oracle.vector(now + 5, **BODY), **BODY)
    assert {"clock": 1} == measure(archived.write()).causes


def test_an_event_stamped_after_it_was_served_is_the_clocks(
    archived: Archived, oracle: Oracle
) -> None:
    """The api's clock is behind the broker's."""
    now = START + MINUTE
    archived.event(now, now - 9, **PAID, amount=3.0)
    archived.event(now + 30, now - 8, **PAID, amount=5.0)
    oracle.event(now - 9, **PAID, amount=3.0)
    archived.score(now - 5, oracle.vector(now - 5, **BODY), **BODY)
    assert {"clock": 1} == measure(archived.write()).causes


def test_an_entity_that_was_gone_is_expired(archived: Archived) -> None:
    """A vector as of an entity never seen, though its events were known."""
    now = START + 2 * HOUR
    archived.score(now, Oracle(OLD).vector(now, **BODY), **BODY)
    found = measure(archived.write())
    assert {"expired": 1} == found.causes
    assert {"paid_count_card_24h": 1, "paid_mean_card_24h": 1, "share": 1} == found.features
    (shown,) = found.shown
    assert ("p0", "c1", now, "expired") == (shown.id, shown.key, shown.time_ms, shown.cause)


def test_other_code_is_named(archived: Archived, oracle: Oracle) -> None:
    """A feature of the request alone that differs was computed by other code."""
    now = START + MINUTE
    vector = oracle.vector(now, **BODY)
    vector[archived.plan.schema.names.index("amount")] += 1
    archived.score(now, vector, **BODY)
    assert {"code_version": 1} == measure(archived.write()).causes


@pytest.mark.parametrize(("features", "cause"), [(OLD, "unexplained"), (NEW, "code_version")])
def test_what_nothing_explains_is_said(
    archived: Archived, oracle: Oracle, features: tuple, cause: str
) -> None:
    """A vector that no state gives is unexplained; one of another declaration is that one's."""
    now = START + MINUTE
    archived.score(now, oracle.vector(now, **BODY) + 7, **(BODY | {"amount": 15.0}))
    assert {cause: 1} == measure(archived.write(), features=features).causes


def test_features_that_are_not_declared_any_more_do_not_count(
    archived: Archived, oracle: Oracle
) -> None:
    """A vector of another declaration is compared in what both have."""
    now = START + MINUTE
    archived.score(now, oracle.vector(now, **BODY), **BODY)
    found = measure(archived.write(), features=NEW)
    assert (1, 1, 0) == (found.checked, found.equal, found.skipped)


def test_one_step_of_float32_is_rounding(archived: Archived, oracle: Oracle) -> None:
    """The order in which several partitions came is no mismatch, and is counted apart."""
    now = START + MINUTE
    vector = oracle.vector(now, **BODY)
    at = archived.plan.schema.names.index("paid_mean_card_1h")
    vector[at] = np.nextafter(vector[at], np.float32(np.inf))
    archived.score(now, vector, **BODY)
    found = measure(archived.write())
    assert (1, 0, 1, 0) == (found.checked, found.equal, found.rounding, found.mismatched)


def test_a_share_is_chosen_by_the_id(tmp_path: Path) -> None:
    """The same predictions each time, about as many as asked for, and none that is too new."""
    archived, _ = live(tmp_path, 800)
    first = measure(tmp_path, Sample(0.3, None, 2**62))
    assert first == measure(tmp_path, Sample(0.3, None, 2**62))
    share = first.sampled / len(archived.predictions)
    assert 0.2 < share < 0.4
    newest = archived.predictions[-1]
    assert (
        len(archived.predictions) - 1
        == measure(tmp_path, Sample(1.0, None, newest.scored_ms)).sampled
    )
    assert 1 == measure(tmp_path, Sample(1.0, newest.time, 2**62)).sampled
    assert 1 == measure(tmp_path, Sample(1.0, None, 2**62, newest.scored_ms)).sampled


def test_no_archive_has_no_skew(tmp_path: Path) -> None:
    """Nothing was scored."""
    assert SkewReport() == measure(tmp_path)
    assert 0.0 == SkewReport().rate


def test_features_that_were_left_out_are_no_skew(archived: Archived, oracle: Oracle) -> None:
    """Where they were older than the caller tolerated, the vector is not what the log gives."""
    now = START + MINUTE
    archived.score(now, np.full_like(oracle.vector(now, **BODY), np.nan), **BODY)
    archived.predictions[-1] = structs.replace(archived.predictions[-1], arm="default")
    archived.score(now, oracle.vector(now, **BODY), **BODY)
    found = measure(archived.write())
    assert (2, 1, 1, 1) == (found.sampled, found.checked, found.equal, found.skipped)
