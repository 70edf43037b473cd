"""A forest's text: what it keeps, what it leaves out, and who can read it."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from small_models import model_of, rows_of

from batch.compression.forest import Forest, node_bytes, shortest
from learners.lightgbm_text import parse_model
from learners.tree_walk import rounded_down
from learners.trees import FrozenTrees
from tidemill.tasks import BINARY, REGRESSION, Task

EVERY_DIGIT = 17


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.kind)
def test_no_row_falls_into_another_leaf(task: Task) -> None:
    """Thresholds of few digits, sets and the side of missing values are those of the model."""
    model, vectors = model_of("trees", task), rows_of(task, 2).vectors
    whole = FrozenTrees.parse(model.data)
    slim = FrozenTrees.parse(Forest.of(whole.arrays).text(EVERY_DIGIT))
    np.testing.assert_array_equal(whole.leaves(vectors), slim.leaves(vectors))
    np.testing.assert_allclose(slim.raw_many(vectors), whole.raw_many(vectors), atol=1e-12)
    np.testing.assert_allclose(slim.leaf_weights, whole.leaf_weights, rtol=6e-3)
    assert (task, whole.features) == (slim.task, slim.features)


def test_lightgbm_reads_it() -> None:
    """The text is LightGBM's own format: its predictions are ours."""
    data = Forest.of(parse_model(model_of("trees", BINARY).data)).text(5)
    vectors = rows_of(BINARY, 2).vectors
    booster = lightgbm.Booster(model_str=data.decode())
    found = booster.predict(vectors, num_threads=1)
    np.testing.assert_allclose(found, FrozenTrees.parse(data).predict_many(vectors), atol=1e-12)


def test_equal_forests_have_equal_text() -> None:
    """A text read and written again is the same."""
    data = Forest.of(parse_model(model_of("trees", BINARY).data)).text(5)
    assert data == Forest.of(parse_model(data)).text(5)


def test_thresholds_keep_every_float32_on_its_side() -> None:
    """The shortest decimal lies in the same gap between two float32 values, and is never longer."""
    random = np.random.default_rng(3)
    sizes = 10.0 ** random.integers(-44, 39, 2000)
    some = np.array([0.0, -0.0, 1e-35, 1.0000000180025095e-35, 1e300, -1e300, 0.1, 1 / 3])
    thresholds = np.concatenate([some, random.normal(size=2000) * sizes])
    texts = shortest(thresholds)
    found = np.array([float(text) for text in texts])
    np.testing.assert_array_equal(rounded_down(thresholds), rounded_down(found))
    pairs = zip(texts, thresholds.tolist(), strict=True)
    assert not [text for text, one in pairs if len(text) > len(repr(one))]
    assert ["0.33333335"] == shortest(np.array([0.3333333432674408]))
    assert ["0.3"] == shortest(np.array([0.29999999701976776 + 1e-9]))


def test_leaves_can_be_set() -> None:
    """Values and weights go to the leaves in their order."""
    forest = Forest.of(parse_model(model_of("trees", BINARY).data))
    values = np.arange(forest.leaves) / 8
    trees = FrozenTrees.parse(forest.with_leaves(values, 2 * values).text(3))
    np.testing.assert_array_equal(values, trees.leaf_values)
    np.testing.assert_allclose(trees.leaf_weights, 2 * values, rtol=6e-3)


def test_a_nodes_size_is_about_that_of_its_text() -> None:
    """Sets of categories count as long as they are."""
    forest = Forest.of(parse_model(model_of("trees", BINARY).data))
    expected = len(forest.text(5))
    assert expected == pytest.approx(sum(node_bytes(tree).sum() for tree in forest.trees), rel=0.3)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.1, 3, "0.1"), (-1e-9, 3, "0"), (0.0, 3, "0"), (12.0, 3, "12"), (1234.6, -1, "1230.0")],
)
def test_values_have_no_needless_digits(value: float, decimals: int, text: str) -> None:
    """Zeros at the end, and minus zeros, are left out."""
    forest = Forest.of(parse_model(model_of("trees", BINARY).data))
    line = forest.with_leaves(np.full(forest.leaves, value)).text(decimals).split(b"leaf_value=")[1]
    assert float(text) == float(line.split()[0])
    assert len(line.split()[0]) <= len(text)
