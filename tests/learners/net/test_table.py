"""Who gets a row and who loses it: admission, expiry, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from learners.net.id_map import EMPTY
from learners.net.table import RARE, EmbeddingTable, Turnover

NOBODY = np.empty(0, np.int64)


def table(
    admit_after: int = 2, expires_after: int | None = None, max_rows: int = 1000, seed: int = 7
) -> EmbeddingTable:
    """A table of two columns."""
    return EmbeddingTable(2, 4, Turnover(admit_after, expires_after, max_rows, seed))


def keys_of(found: EmbeddingTable) -> list[int]:
    """The ids that have a row."""
    return sorted(key for key in found.keys[: found.used].tolist() if key >= 0)


def test_an_id_is_admitted_when_it_was_seen_often_enough() -> None:
    """The third time counts; others wait."""
    found = table(admit_after=3)
    found.learned(NOBODY, np.array([10, 11, 10]), 0, 3)
    assert len(found) == 0
    found.learned(NOBODY, np.array([10, 12]), 3, 5)
    assert [10] == keys_of(found)
    assert ([11, 12], [1, 1]) == tuple(a.tolist() for a in found.candidates.items())


def test_first_values_depend_on_seed_and_key_alone() -> None:
    """Whenever an id comes, and to whichever row, it starts alike; another seed starts it else."""
    one, other, seeded = table(1), table(1), table(1, seed=8)
    one.learned(NOBODY, np.array([5, 6, 7]), 0, 3)
    other.learned(NOBODY, np.array([7]), 0, 1)
    seeded.learned(NOBODY, np.array([7]), 0, 1)
    values = [t.rows[int(t.index.items()[1][-1])] for t in (one, other, seeded)]
    np.testing.assert_array_equal(values[0], values[1])
    assert (values[0][:4] != values[2][:4]).all()
    assert (np.abs(values[0][:4]) <= 0.1).all()


def test_rows_are_bounded() -> None:
    """No more than `max_rows` ids have one; the next asks again once a row is free."""
    found = table(1, expires_after=8, max_rows=3)
    found.learned(NOBODY, np.arange(5), 0, 1)
    assert [0, 1, 2] == keys_of(found)
    found.learned(np.array([2, 4]), np.array([4]), 1, 9)
    assert [0, 1, 2] == keys_of(found)
    found.learned(np.array([2]), np.array([4]), 9, 10)
    assert [0, 2, 4] == keys_of(found)
    assert len(found.keys[: found.used]) == 5


def test_rows_idle_too_long_are_freed() -> None:
    """A row untouched for `expires_after` examples goes at most an eighth later, others stay."""
    found = table(1, expires_after=80)
    found.learned(NOBODY, np.array([10, 11]), 0, 10)
    for now in range(20, 101, 10):
        found.learned(np.array([3]), NOBODY, now - 10, now)
    assert [11] == keys_of(found)
    assert EMPTY == found.keys[2]
    assert not found.rows[2].any()
    found.learned(NOBODY, np.array([12]), 100, 101)
    assert (12, 0.1) == (found.keys[2], pytest.approx(found.rows[2, 4]))


def test_columns_keep_their_own_rows() -> None:
    """The rows for ids without one never expire."""
    found = table(expires_after=8)
    found.learned(NOBODY, NOBODY, 0, 1000)
    assert [RARE, RARE] == found.keys[:2].tolist()


def test_candidates_are_bounded() -> None:
    """When more ids wait than may have rows, counting starts again."""
    found = table(max_rows=100)
    for start in range(0, 10_000, 50):
        found.learned(NOBODY, np.arange(start, start + 50), start, start + 50)
        assert found.candidates.count <= 100
    assert len(found) == 0


def test_ids_never_share_a_row() -> None:
    """Ten thousand ids that come and go have a row each, and the one the map says."""
    found, random = table(1, expires_after=400, max_rows=5000), np.random.default_rng(5)
    for now in range(100, 20_000, 100):
        seen = np.unique(random.integers(now, now + 4000, 100))
        known = np.isin(seen, found.index.items()[0])
        used = np.flatnonzero(np.isin(found.keys[: found.used], seen))
        found.learned(used, seen[~known], now - 100, now)
        keys, places = found.index.items()
        np.testing.assert_array_equal(keys, found.keys[places])
        assert len(np.unique(places)) == len(keys) == len(keys_of(found))
    assert found.used < 5000


def test_changes_are_what_was_used_given_or_freed() -> None:
    """They name rows, counted ids and ids that wait no longer, until settled."""
    found = table(expires_after=80)
    found.learned(NOBODY, np.array([10, 10, 11, 12]), 0, 4)
    found.settle()
    found.learned(np.array([1]), np.array([11, 13]), 4, 84)
    found.learned(NOBODY, NOBODY, 84, 95)
    assert [(1, RARE), (2, EMPTY), (3, 11)] == list(
        zip(found.changed_rows().numbers.tolist(), found.changed_rows().keys.tolist(), strict=True)
    )
    waiting = found.changed_candidates()
    assert ([11, 13], [0, 1]) == (waiting.keys.tolist(), waiting.counts.tolist())
    found.settle()
    assert len(found.changed_rows().numbers) == len(found.changed_candidates().keys) == 0


def test_too_many_changes_become_all() -> None:
    """Where nobody asks for changes, what is remembered of counted ids has a bound."""
    found = table(max_rows=10)
    for _ in range(5):
        found.learned(NOBODY, np.arange(8), 0, 8)
    for start in range(0, 400, 4):
        found.learned(NOBODY, np.arange(start, start + 4), 0, 8)
    assert found.changed_candidates().whole
