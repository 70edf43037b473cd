"""An arena keeps every entity's row through growth, storage and loading."""

from __future__ import annotations

import numpy as np
import pytest
import shops

from features.arena import Arena, usable
from features.columns import window_rows
from features.plan import compile_plan

PLAN = compile_plan(shops.project)
CARD, CARD_SHOP, SHOP = PLAN.entities


def filled(keys: list[str], capacity: int = 64) -> Arena:
    """An arena with one payment of amount 10 + position per key."""
    arena = Arena(CARD, capacity)
    columns = shops.payments(
        *({"time": shops.START + i, "card": key, "amount": 10.0 + i} for i, key in enumerate(keys))
    )
    missing = arena.missing(keys)
    arena.load(missing, [None] * len(missing))
    assert 0 == folded(arena, columns)
    return arena


def folded(arena: Arena, columns: dict) -> int:
    """Fold payments; returns how many values came too late."""
    group, count = CARD.groups[0], len(columns["time"])
    found = window_rows(CARD, group, columns, count)
    return arena.fold(group, found.keys, found.codes, columns["time"], found.values)


def blob_of(arena: Arena, key: str) -> bytes:
    """One entity as it is stored."""
    return arena.blobs_of([key])[0]


def test_growth_keeps_every_row() -> None:
    """An arena that started with one row holds what a large one holds."""
    keys = [f"k{i}" for i in range(100)]
    assert list(filled(keys, 1_000).blobs()) == list(filled(keys, 1).blobs())
    assert 100 == len(filled(keys, 1))


def test_a_blob_comes_back_as_it_was_stored() -> None:
    """Storing and loading changes nothing."""
    blob = blob_of(filled(["a"]), "a")
    arena = Arena(CARD)
    arena.load(["a"], [blob])
    assert (blob, CARD.bytes) == (blob_of(arena, "a"), len(blob))


def test_folding_goes_on_after_a_round_trip() -> None:
    """Half the events, a round trip and the other half equal all of them at once."""
    expected = blob_of(filled(["a", "a"]), "a")
    arena = Arena(CARD)
    arena.load(["a"], [blob_of(filled(["a"]), "a")])
    folded(arena, shops.payments({"time": shops.START + 1, "card": "a", "amount": 11.0}))
    assert expected == blob_of(arena, "a")


@pytest.mark.parametrize(
    "blob", [b"", b"x", bytes(CARD.bytes), bytes(CARD.bytes - 4), b"\xff" * CARD.bytes]
)
def test_a_blob_of_another_layout_is_a_new_row(blob: bytes) -> None:
    """What the plan cannot read is not read, and the entity begins anew."""
    arena, new = Arena(CARD), Arena(CARD)
    arena.load(["a"], [blob])
    new.load(["a"], [None])
    assert (False, blob_of(new, "a")) == (usable(CARD, blob), blob_of(arena, "a"))


def test_the_blob_of_another_entity_is_not_usable() -> None:
    """Layouts of two entities differ."""
    arena = Arena(SHOP)
    arena.load(["s"], [None])
    assert (True, False) == (usable(SHOP, blob_of(arena, "s")), usable(CARD, blob_of(arena, "s")))


def test_missing_keys_are_named_once_in_order() -> None:
    """Only what is not in memory is asked for, each key once."""
    assert ["c", "b"] == filled(["a"]).missing(["c", "a", "b", "c"])


def test_unknown_and_missing_keys_have_no_slot() -> None:
    """A key that is None or unknown is -1; the empty string is a key like any other."""
    arena = filled(["", "a"])
    np.testing.assert_array_equal([0, 1, -1, -1], arena.slots_or_none(["", "a", None, "z"]))


def test_folding_needs_every_key_in_memory() -> None:
    """A key that was not loaded is an error, not a silent new row."""
    with pytest.raises(KeyError):
        folded(filled(["a"]), shops.payments({"time": shops.START, "card": "z", "amount": 1.0}))


def test_an_arena_over_its_limit_forgets_what_was_idle_longest() -> None:
    """What stays are the entities touched last, and their rows stay as they were."""
    arena = filled([f"k{i}" for i in range(20)])
    for key in ("k3", "k7"):
        folded(arena, shops.payments({"time": shops.START + 50, "card": key, "amount": 1.0}))
    expected = {key: blob_of(arena, key) for key in ("k3", "k7")}
    arena.trim(20)
    assert 20 == len(arena)
    arena.trim(8)
    assert 6 == len(arena)
    assert expected == {key: blob for key, blob in arena.blobs() if key in expected}


def test_a_forgotten_entity_comes_back_from_its_blob() -> None:
    """Trimming changes nothing about what is folded, only where it is kept."""
    whole, bounded = Arena(CARD), Arena(CARD)
    stored: dict[str, bytes] = {}
    for i in range(60):
        key = f"k{i * 7 % 11}"
        row = shops.payments({"time": shops.START + i * 60_000, "card": key, "amount": float(i)})
        for arena in (whole, bounded):
            missing = arena.missing([key])
            arena.load(
                missing, [stored.get(each) if arena is bounded else None for each in missing]
            )
            folded(arena, row)
        stored[key] = blob_of(bounded, key)
        bounded.trim(3)
    assert dict(whole.blobs()) == stored
