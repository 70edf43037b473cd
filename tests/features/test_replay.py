"""Replaying events offline gives vectors, entity by entity."""

from __future__ import annotations

import numpy as np
import shops

from features.plan import compile_plan
from features.replay import Replayer

PLAN = compile_plan(shops.project)
NAMES = PLAN.schema.names


def vector(replayer: Replayer, **request: object) -> dict[str, float]:
    """One request's features by name."""
    row = replayer.vectors(shops.requests({"time": shops.START, **request}))[0]
    return dict(zip(NAMES, row.tolist(), strict=True))


def test_request_features_are_computed_from_the_request_alone() -> None:
    """Before any event the request's own features are there, a missing string has no code."""
    found = vector(Replayer(PLAN), time=shops.START + 90 * shops.MINUTE, amount=2.5, shop=None)
    np.testing.assert_array_equal(
        [2.5, 1.0, np.nan], [found[n] for n in ("amount", "hour", "shop")]
    )


def test_an_entity_never_seen_has_zeros_and_missing_values() -> None:
    """Counts and sums of nothing are 0, everything else is missing."""
    found = vector(Replayer(PLAN))
    windows = {name: value for name, value in found.items() if name.count("_") >= 2}
    expected = [0.0 if "_count_" in n or "_sum_" in n else np.nan for n in windows]
    np.testing.assert_array_equal(expected, list(windows.values()))


def test_derived_features_see_windows_and_earlier_derived_ones() -> None:
    """A ratio of a request feature and a window, and its double."""
    replayer = Replayer(PLAN)
    replayer.apply("payment", shops.payments({"time": shops.START, "amount": 4.0}))
    found = vector(replayer, amount=10.0)
    assert (2.5, 5.0) == (found["ratio"], found["double"])


def test_events_without_a_part_of_a_key_skip_that_entity() -> None:
    """A payment without shop counts for the card, not for card and shop."""
    replayer = Replayer(PLAN)
    replayer.apply("payment", shops.payments({"time": shops.START, "amount": 4.0, "shop": None}))
    found = vector(replayer)
    actual = (found["spent_count_card_1h"], found["spent_count_card_shop_1h"])
    assert (1.0, 0.0) == actual
    assert ["card"] == [entity for entity, _, _ in replayer.blobs()]


def test_a_request_without_a_part_of_a_key_has_no_windows_of_it() -> None:
    """A request lacking the shop gets what an unknown shop gets."""
    replayer = Replayer(PLAN)
    replayer.apply("payment", shops.payments({"time": shops.START, "amount": 4.0}))
    found = vector(replayer, shop=None)
    assert (1.0, 0.0) == (found["spent_count_card_1h"], found["spent_count_card_shop_1h"])


def test_an_event_counts_only_for_its_own_windows() -> None:
    """A visit changes the shop's windows and no card's."""
    replayer = Replayer(PLAN)
    replayer.apply("visit", shops.visit_columns({"time": shops.START}))
    found = vector(replayer)
    actual = (found["visits_count_shop_1h"], found["visits_age_shop_1h"])
    assert (1.0, 0.0, 0.0) == (*actual, found["spent_count_card_1h"])


def test_a_number_beyond_float32_is_missing_in_the_vector() -> None:
    """A vector holds finite numbers and missing ones, nothing else."""
    found = vector(Replayer(PLAN), amount=1e300)
    np.testing.assert_array_equal([np.nan, np.nan], [found["amount"], found["ratio"]])


def test_no_events_and_no_requests_are_fine() -> None:
    """Empty batches change nothing and answer nothing."""
    replayer = Replayer(PLAN)
    assert 0 == replayer.apply("payment", shops.payments())
    assert (0, len(NAMES)) == replayer.vectors(shops.requests()).shape
    assert [] == list(replayer.blobs())


def test_asking_changes_nothing() -> None:
    """Vectors may be asked for twice, also of entities never seen."""
    replayer = Replayer(PLAN)
    replayer.apply("payment", shops.payments({"time": shops.START, "amount": 4.0}))
    before = list(replayer.blobs())
    first = vector(replayer, card="unknown")
    np.testing.assert_array_equal(
        list(first.values()), list(vector(replayer, card="unknown").values())
    )
    assert before == list(replayer.blobs())
