"""The head on frozen trees as cases of the checks: probabilities and values."""

from __future__ import annotations

import math

import numpy as np
from checks import Case
from numpy.typing import NDArray
from releases import Release, regression_release, release

from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.learner_kinds import TreeHead as Settings
from tidemill.tasks import BINARY, REGRESSION, Task

SETTINGS = Settings()


def _slow(made: Release, task: Task, labels_of: NDArray[np.float32], labels: object) -> list[float]:
    """The head in plain Python: LightGBM's own leaves, one dict of weights, no kernel."""
    dump = made.booster.trees_to_dataframe()
    dump = dump[dump["left_child"].isna()]
    leaf_rows = made.booster.predict(labels_of, pred_leaf=True)
    names = {(r.tree_index, int(r.node_index.split("-L")[1])): r for r in dump.itertuples()}
    head = TreeHead.warm_start(FrozenTrees.parse(made.text), SETTINGS)
    primed = iter(head.sums.tolist())
    weights = {key: names[key].value for key in sorted(names)}
    sums = {key: next(primed) for key in sorted(names)}
    unit = 1.0 if task == BINARY else _spread(names)
    scores = []
    for leaves, label in zip(leaf_rows, np.asarray(labels).tolist(), strict=True):
        keys = list(enumerate(leaves.tolist()))
        raw = sum(weights[key] for key in keys)
        score = 1 / (1 + math.exp(-raw)) if task == BINARY else raw
        for key in keys:
            sums[key] += (score - label) ** 2
            weights[key] -= SETTINGS.learning_rate * unit * (score - label) / math.sqrt(sums[key])
        scores.append(score)
    return scores


def _spread(names: dict[tuple[int, int], object]) -> float:
    """The root of the trees' summed variances over the training rows."""
    total = 0.0
    for tree in {tree for tree, _ in names}:
        leaves = [leaf for (number, _), leaf in names.items() if number == tree]
        rows = sum(leaf.weight for leaf in leaves)
        mean = sum(leaf.weight * leaf.value for leaf in leaves) / rows
        total += sum(leaf.weight * (leaf.value - mean) ** 2 for leaf in leaves) / rows
    return math.sqrt(total)


def _case(name: str, made: Release, task: Task, largest_move: float) -> Case:
    trees = FrozenTrees.parse(made.text)
    return Case(
        name=name,
        start=lambda: TreeHead.warm_start(trees, SETTINGS),
        restore=lambda state: TreeHead.restore(trees, SETTINGS, state),
        vectors=made.vectors,
        labels=made.labels,
        release=made.booster.predict,
        slow_learn=lambda vectors, labels: _slow(made, task, vectors, labels),
        task=task,
        largest_move=largest_move,
        slow_exact=1e-12 if task == BINARY else 1e-9,
    )


def tree_head() -> Case:
    """The head of a classifier."""
    return _case("tree_head", release(), BINARY, 0.02)


def tree_head_of_values() -> Case:
    """The head of a regression."""
    return _case("tree_head_of_values", regression_release(), REGRESSION, 1.0)


CASES = (tree_head, tree_head_of_values)
