"""Trees as something to be cut: taken from a model's arrays, and back to LightGBM's text.

The text has what `learners.lightgbm_text` and LightGBM itself read and nothing else: no gains, no
counts, no inner values, no parameters. Thresholds have as few digits as keep every float32 on its
side, so that no vector falls into another leaf.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from learners.tree_arrays import TreeArrays
from learners.tree_walk import rounded_down
from tidemill.tasks import Task

_OBJECTIVES = {"binary": "binary sigmoid:1", "regression": "regression"}
_CATEGORICAL, _NAN_RIGHT, _NAN_LEFT = 1, 8, 10  # decision_type of the text format
_NODE_BYTES = 35  # of a numerical node and a leaf
_MOST_DIGITS = 9  # tell any two float32 apart

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """One tree; nodes and leaves count from 0. A leaf as a child is its complement.

    `words` has the bits of the categories that go left, none for a numerical node.
    """

    split_features: NDArray[np.int32]  # (nodes,)
    thresholds: Floats  # (nodes,)
    missing_right: NDArray[np.bool_]  # (nodes,)
    words: list[NDArray[np.uint32]]  # one each node
    children: NDArray[np.int32]  # (nodes, 2)
    values: Floats  # (leaves,)
    weights: Floats  # (leaves,)


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves add up to raw scores."""

    task: Task
    features: tuple[str, ...]
    trees: tuple[Tree, ...]

    @classmethod
    def of(cls, arrays: TreeArrays) -> Forest:
        """The trees of a model."""
        counts = arrays.leaf_counts
        leaf_starts = np.cumsum(counts) - counts
        starts = zip(leaf_starts.tolist(), counts.tolist(), strict=True)
        trees = [_tree(arrays, start - i, start, count) for i, (start, count) in enumerate(starts)]
        return cls(arrays.task, arrays.features, tuple(trees))

    @property
    def leaves(self) -> int:
        """How many there are."""
        return sum(len(tree.values) for tree in self.trees)

    def with_leaves(self, values: Floats, weights: Floats | None = None) -> Forest:
        """The same trees with other values, and weights, of all leaves one after the other."""
        ends = np.cumsum([len(tree.values) for tree in self.trees])[:-1]
        weighed = self.trees if weights is None else _weighed(self.trees, np.split(weights, ends))
        pairs = zip(weighed, np.split(values, ends), strict=True)
        return replace(self, trees=tuple(replace(tree, values=part) for tree, part in pairs))

    def text(self, decimals: int) -> bytes:
        """LightGBM's text; leaf values keep so many decimals, their weights three digits."""
        head = [
            "tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0",
            f"max_feature_idx={len(self.features) - 1}",
            f"objective={_OBJECTIVES[self.task.kind]}",
            f"feature_names={' '.join(self.features)}",
            f"feature_infos={' '.join(['none'] * len(self.features))}",
            "",
        ]  # fmt: skip
        blocks = [_block(number, tree, decimals) for number, tree in enumerate(self.trees)]
        return "\n".join([*head, *blocks, "end of trees\n"]).encode()


def _weighed(trees: tuple[Tree, ...], weights: list[Floats]) -> tuple[Tree, ...]:
    pairs = zip(trees, weights, strict=True)
    return tuple(replace(tree, weights=part) for tree, part in pairs)


def _tree(arrays: TreeArrays, node: int, leaf: int, leaves: int) -> Tree:
    nodes = slice(node, node + leaves - 1)
    children = arrays.children[nodes]
    firsts, words = arrays.first_word[nodes].tolist(), arrays.words[nodes].tolist()
    return Tree(
        arrays.split_features[nodes],
        arrays.thresholds[nodes],
        arrays.missing_right[nodes],
        [arrays.bits[first : first + count] for first, count in zip(firsts, words, strict=True)],
        np.where(children >= 0, children - node, children + leaf).astype(np.int32),
        arrays.leaf_values[leaf : leaf + leaves],
        arrays.leaf_weights[leaf : leaf + leaves],
    )


def _block(number: int, tree: Tree, decimals: int) -> str:
    sets = [_trimmed(words) for words in tree.words]
    categorical = np.array([len(words) > 0 for words in tree.words], np.bool_)
    lines = [f"Tree={number}", f"num_leaves={len(tree.values)}", f"num_cat={categorical.sum()}"]
    if len(tree.words):
        numbers = np.cumsum(categorical) - 1
        thresholds = shortest(tree.thresholds)
        which = zip(thresholds, numbers.tolist(), categorical.tolist(), strict=True)
        sides = np.where(tree.missing_right, _NAN_RIGHT, _NAN_LEFT)
        left, right = tree.children.T
        lines += [
            _line("split_feature", tree.split_features),
            _line("threshold", [str(number) if is_set else text for text, number, is_set in which]),
            _line("decision_type", np.where(categorical, _CATEGORICAL, sides)),
            _line("left_child", left),
            _line("right_child", right),
        ]
    lines.append(_line("leaf_value", [_decimal(value, decimals) for value in tree.values.tolist()]))
    if len(tree.words):
        lines.append(_line("leaf_weight", [_coarse(weight) for weight in tree.weights.tolist()]))
    if categorical.any():
        lengths = [len(words) for words in sets if len(words)]
        lines += [
            _line("cat_boundaries", np.cumsum([0, *lengths])),
            _line("cat_threshold", np.concatenate(sets)),
        ]
    return "\n".join([*lines, "shrinkage=1", "", ""])


def node_bytes(tree: Tree) -> Floats:
    """About how long the text of each node is, that of a leaf included (nodes,)."""
    lengths = [
        _NODE_BYTES + sum(len(str(word)) + 1 for word in _trimmed(words).tolist())
        for words in tree.words
    ]
    return np.array(lengths, np.float64)


def _line(name: str, values: NDArray[np.generic] | list[str]) -> str:
    return f"{name}={' '.join(map(str, values))}"


def _trimmed(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Without empty words at the end, but one of a set: a category beyond them goes right too."""
    last = np.flatnonzero(words)
    return words[: last[-1] + 1] if len(last) else words[:1]


def _decimal(value: float, decimals: int) -> str:
    text = f"{value:.{max(decimals, 0)}f}" if decimals > 0 else str(round(value, decimals))
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _coarse(weight: float) -> str:
    rounded = float(f"{weight:.3g}")
    return str(int(rounded)) if rounded.is_integer() and rounded < 1e15 else repr(rounded)


def shortest(thresholds: Floats) -> list[str]:
    """The shortest decimal in place of each that has every float32 value on the same side."""
    low = rounded_down(thresholds)
    with np.errstate(over="ignore"):
        high = np.nextafter(low, np.float32(np.inf)).astype(np.float64)
    pairs = zip(low.astype(np.float64).tolist(), high.tolist(), thresholds.tolist(), strict=True)
    return [repr(_shortest(*pair)).removesuffix(".0") for pair in pairs]


def _shortest(low: float, high: float, threshold: float) -> float:
    """The decimal of fewest digits from `low` on that is below `high`."""
    if low == 0 or not isfinite(low):
        return 0.0 if low == 0 else threshold
    for digits in range(_MOST_DIGITS):
        text = f"{low:.{digits}e}"
        tried = float(text)
        if tried < low:
            step = 10.0 ** (int(text.split("e")[1]) - digits)
            tried = float(f"{tried + step:.{digits}e}")
        if low <= tried < high:
            return tried
    return threshold
