"""The hash map: no two keys share an entry, however they come and go."""

from __future__ import annotations

import numpy as np

from learners.net.id_map import EMPTY, IdMap, mix, slot_of


def test_agrees_with_a_dict() -> None:
    """Thousands of random puts and drops leave what a dict has."""
    random, found, expected = np.random.default_rng(3), IdMap(), {}
    for _ in range(300):
        keys = np.unique(random.integers(0, 5000, 40))
        values = random.integers(0, 10**12, len(keys))
        if random.random() < 0.5:
            found.put(keys, values)
            expected |= dict(zip(keys.tolist(), values.tolist(), strict=True))
        else:
            found.drop(keys)
            for key in keys.tolist():
                expected.pop(key, None)
    keys, values = found.items()
    assert sorted(expected.items()) == list(zip(keys.tolist(), values.tolist(), strict=True))
    assert len(expected) == found.count


def test_keys_of_one_home_keep_apart() -> None:
    """Keys that hash to the same slot have values of their own, also after one between is gone."""
    home = mix(0) & np.uint64(63)
    keys = np.array([k for k in range(3000) if mix(k) & np.uint64(63) == home][:12])
    found = IdMap.of(keys, np.arange(12))
    found.drop(keys[3:6])
    for number, key in enumerate(keys.tolist()):
        at = slot_of(found.slots, key)
        expected = (EMPTY, EMPTY) if 3 <= number < 6 else (key, number)
        assert expected == tuple(found.slots[at].tolist())


def test_stays_half_empty() -> None:
    """However many come, half of the slots are free, and dropping all frees all."""
    found, keys = IdMap(), np.arange(10_000) * 2**32
    found.put(keys, keys)
    assert len(found.slots) >= 2 * found.count == 20_000
    found.drop(keys)
    assert (found.slots == EMPTY).all()
    assert found.count == 0


def test_a_copy_is_apart() -> None:
    """What is put into a copy is not in the first."""
    first = IdMap.of(np.array([1]), np.array([5]))
    first.copy().put(np.array([2]), np.array([6]))
    assert [1] == first.items()[0].tolist()
