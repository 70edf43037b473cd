"""The payments that benchmarks stream."""

import json

import numpy as np

from bench._traffic import SPAN_MS, make_payments

END_MS = 1_700_000_000_000


def test_a_body_has_six_fields() -> None:
    """Key and JSON carry the numbers of the arrays."""
    payments = make_payments(3, END_MS)
    key, body = next(payments.bodies())
    expected = {
        "event": "payment",
        "time": int(payments.times[0]),
        "card": f"c{payments.cards[0]:06d}",
        "shop": f"s{payments.shops[0]:05d}",
        "device": f"d{payments.devices[0]:05d}",
        "amount": payments.amounts[0],
    }
    assert (expected["card"], expected) == (key, json.loads(body))


def test_totals_are_those_of_the_bodies() -> None:
    """Counts and sums per card follow from what is sent."""
    payments = make_payments(2_000, END_MS)
    totals: dict[str, tuple[int, float]] = {}
    for key, body in payments.bodies():
        count, total = totals.get(key, (0, 0.0))
        totals[key] = (count + 1, total + json.loads(body)["amount"])
    assert totals == payments.totals()


def test_times_lie_in_the_hour_before_the_end() -> None:
    """Event times rise and none reaches the end."""
    times = make_payments(1_000, END_MS).times
    found = (bool((np.diff(times) >= 0).all()), times[0] == END_MS - SPAN_MS, times[-1] < END_MS)
    assert (True, True, True) == found


def test_keys_follow_zipfs_law() -> None:
    """The most frequent card has about 1/H of the events, H being the sum of 1/rank."""
    payments = make_payments(100_000, END_MS)
    largest = np.bincount(payments.cards).max() / len(payments)
    assert abs(largest - 1 / 12.09) < 0.005


def test_a_part_is_a_slice() -> None:
    """A part holds the same events in the same order."""
    payments = make_payments(10, END_MS)
    assert list(payments.bodies())[2:5] == list(payments.part(2, 5).bodies())


def test_all_times_can_be_now() -> None:
    """Freshness sends events of this moment."""
    bodies = make_payments(4, END_MS).bodies(now_ms=5)
    assert [5] * 4 == [json.loads(body)["time"] for _, body in bodies]
