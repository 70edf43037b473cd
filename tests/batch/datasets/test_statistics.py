"""A feature's statistics are those of its numbers, however they come."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batch.datasets import statistics
from batch.datasets.manifest import QUANTILES
from batch.datasets.parts import FACTS, Rows
from batch.datasets.statistics import Statistics


def rows_of(vectors: np.ndarray) -> Rows:
    """Rows with these vectors and ids of their own."""
    numbers = np.arange(len(vectors))
    facts = {f.name: numbers.astype(str if f.type == pa.string() else float) for f in FACTS}
    facts |= {"time": numbers, "label_time": numbers, "offset": numbers}
    return Rows(pa.table(facts, schema=FACTS), vectors.astype(np.float32))


@pytest.mark.parametrize("pieces", [1, 7])
def test_moments_and_quantiles(pieces: int) -> None:
    """Count, missing, mean, deviation and ends of all rows; of few rows exact quantiles."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(1e6, 1, (1000, 3)).astype(np.float32)
    vectors[rng.random(1000) < 0.3, 1] = np.nan
    vectors[:, 2] = np.nan
    found = Statistics(["a", "b", "c"], (), 1000)
    rows = rows_of(vectors)
    for part in np.array_split(np.arange(1000), pieces):
        found.add(rows.take(part))
    for place, each in enumerate(found.found()[:2]):
        column = vectors[:, place].astype(np.float64)
        known = column[~np.isnan(column)]
        assert (len(known), 1000 - len(known)) == (each.count, each.missing)
        assert known.mean() == pytest.approx(each.mean, rel=1e-12)
        assert known.std() == pytest.approx(each.std, rel=1e-6)
        assert (known.min(), known.max()) == (each.min, each.max)
        expected = np.quantile(known, QUANTILES, method="inverted_cdf")
        assert expected.tolist() == each.quantiles
    empty = found.found()[2]
    assert (0, 1000, None, []) == (empty.count, empty.missing, empty.mean, empty.quantiles)


def test_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distinct values are counted up to a limit, the commonest are named with their shares."""
    monkeypatch.setattr(statistics, "MOST_DISTINCT", 50)
    vectors = np.stack([np.arange(100) // 10, np.arange(100)], axis=1)
    found = Statistics(["few", "many"], (0, 1), 100)
    found.add(rows_of(vectors))
    few, many = found.found()
    assert (10, {f"{value}": 0.1 for value in range(10)}) == (few.distinct, few.top)
    assert (None, True) == (many.distinct, many.categorical)


def test_many_rows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantiles of a sample lie near those of all rows, the ends are exact."""
    monkeypatch.setattr(statistics, "SAMPLE_ROWS", 2_000)
    values = np.random.default_rng(1).normal(size=(20_000, 1)).astype(np.float32)
    found = Statistics(["a"], (), 20_000)
    found.add(rows_of(values))
    quantiles = np.array(found.found()[0].quantiles)
    assert (values.min(), values.max()) == (quantiles[0], quantiles[-1])
    expected = np.quantile(values, QUANTILES)[1:-1]
    np.testing.assert_allclose(quantiles[1:-1], expected, atol=0.1)
