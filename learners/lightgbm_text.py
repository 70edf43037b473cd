"""Reads a LightGBM model in its text format into flat arrays, without loading LightGBM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION, Task

# decision_type of the text format (LightGBM include/LightGBM/tree.h): bit 0 says categorical, bit 1
# that missing values go left, bits 2-3 what counts as missing.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2
_MISSING_ZERO, _MISSING_NAN = 1, 2
_WORD_BITS = 32
_TASKS = {"binary sigmoid:1": BINARY, "regression": REGRESSION}


@dataclass(frozen=True, slots=True)
class TreeArrays:
    """All trees of a model as arrays over their nodes and leaves, in the model's order.

    A child that is not negative is a node's number, else the bitwise complement of a leaf's. A
    categorical node goes left when the category's bit is set in its `words` 32-bit words of `bits`
    from `first_word` on; a numerical node has no words and goes left when the value is at most
    `thresholds`.
    """

    task: Task
    features: tuple[str, ...]
    roots: NDArray[np.int32]  # (trees,)
    split_features: NDArray[np.int32]  # (nodes,)
    thresholds: NDArray[np.float64]  # (nodes,)
    missing_right: NDArray[np.bool_]  # (nodes,) where NaN goes
    first_word: NDArray[np.int32]  # (nodes,)
    words: NDArray[np.int32]  # (nodes,)
    children: NDArray[np.int32]  # (nodes, 2) left, right
    bits: NDArray[np.uint32]
    leaf_counts: NDArray[np.int32]  # (trees,)
    leaf_values: NDArray[np.float64]  # (leaves,)
    # (leaves,) sum of p(1-p) of the training rows in the leaf; a regression's: their number
    leaf_weights: NDArray[np.float64]
    # (leaves,) number of the training rows in the leaf; its weight where the text has no counts
    leaf_covers: NDArray[np.float64]


def parse_model(text: bytes) -> TreeArrays:
    """Read a classifier of two classes or a regression.

    Raises ArtifactError for what this module cannot read exactly.
    """
    try:
        head, *blocks = text.decode().split("\nTree=")
        task, features = _head(_fields(head))
        trees = [_Tree(_fields(block.split("\n\n", 1)[0])) for block in blocks]
        if not trees:
            raise ArtifactError("model text: found no tree; allowed: one or more")
        arrays = _joined(task, features, trees)
    except (KeyError, ValueError, IndexError) as error:
        raise ArtifactError(f"model text: {type(error).__name__}: {error}") from error
    _check_references(arrays)
    return arrays


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _head(head: dict[str, str]) -> tuple[Task, tuple[str, ...]]:
    for name, allowed in (("version", "v4"), ("num_class", "1"), ("num_tree_per_iteration", "1")):
        if head.get(name) != allowed:
            raise ArtifactError(f"model text: {name}: found {head.get(name)}; allowed: {allowed}")
    found = head.get("objective")
    if found not in _TASKS:
        allowed = ", ".join(_TASKS)
        raise ArtifactError(f"model text: objective: found {found}; allowed: {allowed}")
    return _TASKS[found], tuple(head["feature_names"].split(" "))


def _numbers(fields: dict[str, str], name: str, kind: Any, expected: int) -> NDArray[Any]:
    numbers = np.array(fields.get(name, "").split(), dtype=kind)
    if len(numbers) != expected:
        raise ArtifactError(f"model text: {name}: found {len(numbers)} values; allowed: {expected}")
    return numbers


class _Tree:
    """One tree as the text has it: children and words count from the tree's own start."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.leaves = int(fields["num_leaves"])
        nodes = self.leaves - 1
        if fields.get("is_linear", "0") != "0":
            raise ArtifactError("model text: is_linear: found 1; allowed: 0")
        self.values = _numbers(fields, "leaf_value", np.float64, self.leaves)
        # A tree that never split has no weights of its own.
        has_weights = nodes > 0
        self.weights = (
            _numbers(fields, "leaf_weight", np.float64, self.leaves) if has_weights else np.zeros(1)
        )
        counted = has_weights and "leaf_count" in fields
        self.covers = (
            _numbers(fields, "leaf_count", np.float64, self.leaves) if counted else self.weights
        )
        self.split_features = _numbers(fields, "split_feature", np.int32, nodes)
        thresholds = _numbers(fields, "threshold", np.float64, nodes)
        decisions = _numbers(fields, "decision_type", np.int32, nodes)
        left = _numbers(fields, "left_child", np.int32, nodes)
        right = _numbers(fields, "right_child", np.int32, nodes)
        self.children = np.stack([left, right], axis=1)
        self._read_decisions(fields, thresholds, decisions)

    def _read_decisions(
        self,
        fields: dict[str, str],
        thresholds: NDArray[np.float64],
        decisions: NDArray[np.int32],
    ) -> None:
        categorical = (decisions & _CATEGORICAL) == 1
        missing = decisions >> _MISSING_SHIFT & 3
        if np.any(~categorical & (missing == _MISSING_ZERO)):
            raise ArtifactError("model text: found zero_as_missing; allowed: NaN as missing")
        # Without a missing type LightGBM reads NaN as zero.
        numerical_right = np.where(
            missing == _MISSING_NAN, (decisions & _DEFAULT_LEFT) == 0, thresholds < 0
        )
        self.missing_right = np.where(categorical, True, numerical_right)
        bounds = np.array(fields.get("cat_boundaries", "0").split(), dtype=np.int32)
        self.bits = np.array(fields.get("cat_threshold", "").split(), dtype=np.uint32)
        which = np.where(categorical, thresholds, 0).astype(np.int32)
        self.first_word = np.where(categorical, bounds[which], 0)
        ends = bounds[np.minimum(which + 1, len(bounds) - 1)]
        self.words = np.where(categorical, ends - self.first_word, 0)
        fit = bounds[0] == 0 and bounds[-1] == len(self.bits) and bool((np.diff(bounds) > 0).all())
        if not fit or np.any(categorical & (self.words < 1)):
            raise ArtifactError("model text: cat_boundaries do not fit cat_threshold")
        self.thresholds = np.where(categorical, 0.0, thresholds)


def _joined(task: Task, features: tuple[str, ...], trees: list[_Tree]) -> TreeArrays:
    leaf_counts = np.array([tree.leaves for tree in trees], np.int32)
    leaf_starts = np.cumsum(leaf_counts) - leaf_counts
    node_starts = leaf_starts - np.arange(len(trees))
    word_counts = np.array([len(tree.bits) for tree in trees])
    word_starts = np.cumsum(word_counts) - word_counts
    children = [
        # ~(leaf + start) == ~leaf - start
        np.where(tree.children >= 0, tree.children + node, tree.children - leaf)
        for tree, node, leaf in zip(trees, node_starts, leaf_starts, strict=True)
    ]
    first_word = [tree.first_word + start for tree, start in zip(trees, word_starts, strict=True)]

    def join(name: str, kind: Any) -> NDArray[Any]:
        return np.concatenate([getattr(tree, name) for tree in trees]).astype(kind)

    return TreeArrays(
        task=task,
        features=features,
        roots=np.where(leaf_counts > 1, node_starts, ~leaf_starts).astype(np.int32),
        split_features=join("split_features", np.int32),
        thresholds=join("thresholds", np.float64),
        missing_right=join("missing_right", np.bool_),
        first_word=np.concatenate(first_word).astype(np.int32),
        words=join("words", np.int32),
        children=np.concatenate(children).astype(np.int32),
        bits=join("bits", np.uint32),
        leaf_counts=leaf_counts,
        leaf_values=join("values", np.float64),
        leaf_weights=join("weights", np.float64),
        leaf_covers=join("covers", np.float64),
    )


def _check_references(arrays: TreeArrays) -> None:
    """A kernel follows these numbers without looking: none may point outside or in a circle."""
    nodes, leaves = len(arrays.split_features), len(arrays.leaf_values)
    features = arrays.split_features
    if np.any((features < 0) | (features >= len(arrays.features))):
        raise ArtifactError("model text: split_feature: found a number without a feature")
    # In a forest every node but the roots, and every leaf but lone ones, is the child of exactly
    # one node.
    targets = np.concatenate([arrays.children.ravel(), arrays.roots])
    if not np.array_equal(np.sort(targets), np.arange(-leaves, nodes)):
        raise ArtifactError("model text: left_child, right_child: found nodes that form no tree")
    parents = np.repeat(np.arange(nodes), 2)
    inner = arrays.children.ravel() >= 0
    if np.any(arrays.children.ravel()[inner] <= parents[inner]):
        raise ArtifactError("model text: left_child, right_child: found a child before its parent")
    if not np.all(np.isfinite(arrays.leaf_values)):
        raise ArtifactError("model text: leaf_value: found a number that is not finite")
