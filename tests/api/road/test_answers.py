"""Prediction ids are UUIDs that begin with their time, and never twice the same."""

import uuid

from api.road.answers import new_prediction_ids
from features.archive.lookup import made_ms

NOW_MS = 1_400_000_000_000


def test_ids_are_uuids():
    """Version 7, the standard variant, 32 digits."""
    ids = [uuid.UUID(hex=text) for text in new_prediction_ids(100, NOW_MS)]
    assert {(7, uuid.RFC_4122)} == {(each.version, each.variant) for each in ids}
    assert {32} == {len(text) for text in new_prediction_ids(100, NOW_MS)}


def test_ids_are_in_the_order_of_their_times():
    """The first 48 bits are the milliseconds since 1970."""
    ids = [new_prediction_ids(1, NOW_MS + later)[0] for later in (0, 1, 70_000, 10**11)]
    assert ids == sorted(ids)
    assert [NOW_MS + 1, NOW_MS + 1] == [uuid.UUID(hex=ids[1]).int >> 80, made_ms(ids[1])]


def test_ids_differ():
    """Within a group and between groups of one moment."""
    made = new_prediction_ids(1_000, NOW_MS), new_prediction_ids(1_000, NOW_MS)
    assert 2_000 == len({*made[0], *made[1]})
