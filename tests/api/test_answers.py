"""Prediction ids are UUIDs, and never twice the same."""

import uuid

from api.road.answers import new_prediction_ids


def test_ids_are_random_uuids():
    """Version 4, the standard variant, 32 digits."""
    ids = new_prediction_ids(100)
    assert ids == [uuid.UUID(hex=text, version=4).hex for text in ids]


def test_ids_differ():
    """Within a group and between groups."""
    assert 2_000 == len(set(new_prediction_ids(1_000)) | set(new_prediction_ids(1_000)))
