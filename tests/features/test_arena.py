"""An arena keeps every entity's row through growth, storage and loading."""

from __future__ import annotations

import numpy as np
import pytest
import shops

from features.arena import Arena, usable
from features.columns import entity_keys, series_values
from features.plan import compile_plan

PLAN = compile_plan(shops.project)
CARD, CARD_SHOP, SHOP = PLAN.entities


def filled(keys: list[str], capacity: int = 64) -> Arena:
    """An arena with one payment of amount 10 + position per key."""
    arena = Arena(CARD, capacity)
    columns = shops.payments(
        *({"time": shops.START + i, "card": key, "amount": 10.0 + i} for i, key in enumerate(keys))
    )
    for key in arena.missing(keys):
        arena.load(key, None)
    present = [key for key in entity_keys(CARD, columns) if key is not None]
    values = series_values(CARD.groups[0], columns, len(keys))
    assert 0 == arena.fold(CARD.groups[0], present, columns["time"], values)
    return arena


def test_growth_keeps_every_row() -> None:
    """An arena that started with one row holds what a large one holds."""
    keys = [f"k{i}" for i in range(100)]
    assert list(filled(keys, 1_000).blobs()) == list(filled(keys, 1).blobs())
    assert 100 == len(filled(keys, 1))


def test_a_blob_comes_back_as_it_was_stored() -> None:
    """Storing and loading changes nothing."""
    blob = filled(["a"]).blob("a")
    arena = Arena(CARD)
    arena.load("a", blob)
    assert (blob, CARD.bytes) == (arena.blob("a"), len(blob))


def test_folding_goes_on_after_a_round_trip() -> None:
    """Half the events, a round trip and the other half equal all of them at once."""
    expected = filled(["a", "a"]).blob("a")
    arena = Arena(CARD)
    arena.load("a", filled(["a"]).blob("a"))
    columns = shops.payments({"time": shops.START + 1, "amount": 11.0})
    values = series_values(CARD.groups[0], columns, 1)
    arena.fold(CARD.groups[0], ["a"], columns["time"], values)
    assert expected == arena.blob("a")


@pytest.mark.parametrize(
    "blob", [b"", b"x", bytes(CARD.bytes), bytes(CARD.bytes - 4), b"\xff" * CARD.bytes]
)
def test_a_blob_of_another_layout_is_a_new_row(blob: bytes) -> None:
    """What the plan cannot read is not read, and the entity begins anew."""
    arena, new = Arena(CARD), Arena(CARD)
    arena.load("a", blob)
    new.load("a", None)
    assert (False, new.blob("a")) == (usable(CARD, blob), arena.blob("a"))


def test_the_blob_of_another_entity_is_not_usable() -> None:
    """Layouts of two entities differ."""
    arena = Arena(SHOP)
    arena.load("s", None)
    assert (True, False) == (usable(SHOP, arena.blob("s")), usable(CARD, arena.blob("s")))


def test_missing_keys_are_named_once_in_order() -> None:
    """Only what is not in memory is asked for, each key once."""
    assert ["c", "b"] == filled(["a"]).missing(["c", "a", "b", "c"])


def test_unknown_and_missing_keys_have_no_slot() -> None:
    """A key that is None or unknown is -1; the empty string is a key like any other."""
    arena = filled(["", "a"])
    np.testing.assert_array_equal([0, 1, -1, -1], arena.slots_or_none(["", "a", None, "z"]))


def test_a_slot_of_an_unknown_key_is_a_key_error() -> None:
    """Folding needs every key in memory."""
    with pytest.raises(KeyError):
        filled(["a"]).slots(["z"])
