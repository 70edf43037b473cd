"""Every learner passes the same list of checks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from checks import CHECKS, Case
from numpy.typing import NDArray
from releases import release

from learners.tree_head import TreeHead
from learners.trees import FrozenTrees

RATE = 0.002


def slow_tree_head(vectors: NDArray[np.float32], labels: NDArray[np.int8]) -> list[float]:
    """The head in plain Python: LightGBM's own leaves, one dict of weights, no kernel."""
    booster = release().booster
    dump = booster.trees_to_dataframe()
    dump = dump[dump["left_child"].isna()]
    leaf_rows = booster.predict(vectors, pred_leaf=True)
    names = {(r.tree_index, int(r.node_index.split("-L")[1])): r for r in dump.itertuples()}
    head = TreeHead.warm_start(FrozenTrees.parse(release().text), RATE)
    primed = iter(head.sums.tolist())
    weights = {key: names[key].value for key in sorted(names)}
    sums = {key: next(primed) for key in sorted(names)}
    scores = []
    for leaves, label in zip(leaf_rows, labels.tolist(), strict=True):
        keys = list(enumerate(leaves.tolist()))
        score = 1 / (1 + math.exp(-sum(weights[key] for key in keys)))
        for key in keys:
            sums[key] += (score - label) ** 2
            weights[key] -= RATE * (score - label) / math.sqrt(sums[key])
        scores.append(score)
    return scores


def tree_head() -> Case:
    """The head on frozen trees."""
    made = release()
    trees = FrozenTrees.parse(made.text)
    return Case(
        name="tree_head",
        start=lambda: TreeHead.warm_start(trees, RATE),
        restore=lambda state: TreeHead.restore(trees, RATE, state),
        vectors=made.vectors,
        labels=made.labels,
        release_scores=made.booster.predict(made.vectors),
        slow_learn=slow_tree_head,
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", [tree_head], ids=lambda make: make.__name__)
def test_learner(make: Callable[[], Case], check: Callable[[Case], None]) -> None:
    """The learner passes the check named in the test's id."""
    check(make())
