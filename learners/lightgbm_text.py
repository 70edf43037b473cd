"""Reads a LightGBM model in its text format into flat arrays, without loading LightGBM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from learners.decimals import Floats, Places, read_decimals
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION, Task

# decision_type of the text format (LightGBM include/LightGBM/tree.h): bit 0 says categorical, bit 1
# that missing values go left, bits 2-3 what counts as missing.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2
_MISSING_ZERO, _MISSING_NAN = 1, 2
_TASKS = {"binary sigmoid:1": BINARY, "regression": REGRESSION}
_TREE, _LAST = b"Tree", b"end of trees"
_NEWLINE, _EQUALS = np.uint8(ord("\n")), np.uint8(ord("="))
_NOWHERE = (0, 0)

Block = Mapping[bytes, tuple[int, int]]
"""Where in the text the values of the lines of a tree, or of the head, begin and end."""


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
    head, *trees = _blocks(text)
    task, features = _head(text, head)
    if not trees:
        raise ArtifactError("model text: found no tree; allowed: one or more")
    arrays = _arrays(task, features, _Trees(text, trees))
    _check_references(arrays)
    return arrays


def _blocks(text: bytes) -> list[Block]:
    """The head, and each tree up to the empty line after it."""
    block: dict[bytes, tuple[int, int]] = {}
    blocks: list[Block] = [block]
    for begin, equals, end in _lines(np.frombuffer(text, np.uint8)).tolist():
        name = text[begin:equals]
        if name == _TREE:
            block = {}
            blocks.append(block)
        elif name:
            block[name] = (equals + 1, end)
        elif begin == end:
            block = {}  # what follows is nobody's
        elif text[begin:end] == _LAST:
            break
    return blocks


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _lines(text: NDArray[np.uint8]) -> Places:
    """Of each line where it begins, where its first `=` is (its beginning without one), its end."""
    count = 0
    for character in text:
        count += character == _NEWLINE
    found = np.empty((count + 1, 3), np.int64)
    begin, equals, line = 0, -1, 0
    for place in range(len(text) + 1):
        if place == len(text) or text[place] == _NEWLINE:
            found[line] = begin, begin if equals < 0 else equals, place
            begin, equals, line = place + 1, -1, line + 1
        elif equals < 0 and text[place] == _EQUALS:
            equals = place
    return found


def _head(text: bytes, block: Block) -> tuple[Task, tuple[str, ...]]:
    try:
        head = {name.decode(): text[slice(*span)].decode() for name, span in block.items()}
    except UnicodeDecodeError as error:
        raise ArtifactError(f"model text: {type(error).__name__}: {error}") from error
    for name, allowed in (("version", "v4"), ("num_class", "1"), ("num_tree_per_iteration", "1")):
        if head.get(name) != allowed:
            raise ArtifactError(f"model text: {name}: found {head.get(name)}; allowed: {allowed}")
    found = head.get("objective")
    if found not in _TASKS:
        allowed = ", ".join(_TASKS)
        raise ArtifactError(f"model text: objective: found {found}; allowed: {allowed}")
    names = head.get("feature_names")
    if not names:
        raise ArtifactError(f"model text: feature_names: found {names}; allowed: one or more")
    return _TASKS[found], tuple(names.split(" "))


class _Trees:
    """The numbers of all trees, field by field, those of one tree after those of the other."""

    def __init__(self, text: bytes, blocks: Sequence[Block]) -> None:
        self._text, self._blocks = text, blocks

    def has(self, name: str) -> NDArray[np.bool_]:
        """Which trees have a field."""
        key = name.encode()
        return np.array([key in block for block in self._blocks])

    def counts(self, name: str, least: int) -> Places:
        """A field that says of each tree how many it has of something."""
        found = self.whole(name, np.ones(len(self._blocks), np.int64))
        if found.min() < least:
            raise ArtifactError(
                f"model text: {name}: found {found.min()}; allowed: from {least} on"
            )
        return found.astype(np.int64)

    def floats(self, name: str, counts: Places) -> Floats:
        """The numbers of a field, so many in each tree; where that is none nobody looks."""
        key = name.encode()
        spans = np.array([block.get(key, _NOWHERE) for block in self._blocks], np.int64)
        spans[counts == 0] = _NOWHERE
        try:
            return read_decimals(self._text, spans, counts)
        except ValueError as error:
            raise ArtifactError(f"model text: {name}: {error}") from error

    def whole(self, name: str, counts: Places, kind: Any = np.int32) -> NDArray[Any]:
        """The whole numbers of a field."""
        found, limits = self.floats(name, counts), np.iinfo(kind)
        fit = (found >= limits.min) & (found <= limits.max) & (found == np.floor(found))
        if not fit.all():
            allowed = f"whole numbers from {limits.min} to {limits.max}"
            raise ArtifactError(f"model text: {name}: found {found[~fit][0]}; allowed: {allowed}")
        return found.astype(kind)


def _arrays(task: Task, features: tuple[str, ...], trees: _Trees) -> TreeArrays:
    linear = trees.whole("is_linear", trees.has("is_linear").astype(np.int64))
    if linear.any():
        raise ArtifactError(f"model text: is_linear: found {linear.max()}; allowed: 0")
    leaves = trees.counts("num_leaves", 1)
    values = trees.floats("leaf_value", leaves)  # before anything is made of a size only claimed
    weights, covers = _weights(trees, leaves)
    nodes = leaves - 1
    thresholds, decisions = trees.floats("threshold", nodes), trees.whole("decision_type", nodes)
    categorical = (decisions & _CATEGORICAL) == 1
    owners = np.repeat(np.arange(len(leaves)), nodes)
    first_word, words = np.zeros((2, len(owners)), np.int32)
    first_word[categorical], words[categorical], bits = _sets(
        trees, owners[categorical], thresholds[categorical]
    )
    leaf_starts, node_starts = np.cumsum(leaves) - leaves, np.cumsum(nodes) - nodes
    left, right = (trees.whole(name, nodes) for name in ("left_child", "right_child"))
    children = np.stack([left, right], axis=1)
    # ~(leaf + start) == ~leaf - start
    starts = np.where(children >= 0, node_starts[owners, None], -leaf_starts[owners, None])
    return TreeArrays(
        task=task,
        features=features,
        roots=np.where(leaves > 1, node_starts, ~leaf_starts).astype(np.int32),
        split_features=trees.whole("split_feature", nodes),
        thresholds=np.where(categorical, 0.0, thresholds),
        missing_right=categorical | _missing_right(decisions, thresholds, categorical),
        first_word=first_word,
        words=words,
        children=(children + starts).astype(np.int32),
        bits=bits,
        leaf_counts=leaves.astype(np.int32),
        leaf_values=values,
        leaf_weights=weights,
        leaf_covers=covers,
    )


def _weights(trees: _Trees, leaves: Places) -> tuple[Floats, Floats]:
    """Weights and covers of the leaves; a tree that never split has none of its own."""
    split = leaves > 1
    weights = np.zeros(leaves.sum())
    weights[np.repeat(split, leaves)] = trees.floats("leaf_weight", np.where(split, leaves, 0))
    covers, counted = weights.copy(), split & trees.has("leaf_count")
    covers[np.repeat(counted, leaves)] = trees.floats("leaf_count", np.where(counted, leaves, 0))
    return weights, covers


def _missing_right(
    decisions: NDArray[np.int32], thresholds: Floats, categorical: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Where NaN goes from numerical nodes."""
    missing = decisions >> _MISSING_SHIFT & 3
    if np.any(~categorical & (missing == _MISSING_ZERO)):
        raise ArtifactError("model text: found zero_as_missing; allowed: NaN as missing")
    # Without a missing type LightGBM reads NaN as zero.
    return np.where(missing == _MISSING_NAN, (decisions & _DEFAULT_LEFT) == 0, thresholds < 0)


def _sets(
    trees: _Trees, owners: NDArray[np.intp], numbers: Floats
) -> tuple[Places, Places, NDArray[np.uint32]]:
    """First word and words of categorical nodes, and all bits.

    `owners` are the nodes' trees, `numbers` their sets among the tree's.
    """
    counts = trees.counts("num_cat", 0)
    has = counts > 0
    bounds = trees.whole("cat_boundaries", np.where(has, counts + 1, 0)).astype(np.int64)
    lasts = np.cumsum(counts[has] + 1) - 1
    firsts, sizes = np.delete(bounds, lasts), np.delete(np.diff(bounds, append=0), lasts)
    starts = np.cumsum(counts) - counts  # of each tree's sets
    if np.any(sizes < 1) or np.any(firsts[starts[has]]):
        raise ArtifactError(
            "model text: cat_boundaries: found sets without words; allowed: from 0 on, rising"
        )
    lengths = np.zeros_like(counts)
    lengths[has] = bounds[lasts]
    bits = trees.whole("cat_threshold", lengths, np.uint32)
    known = (numbers >= 0) & (numbers < counts[owners]) & (numbers == np.floor(numbers))
    if not known.all():
        found = numbers[~known][0]
        raise ArtifactError(f"model text: threshold: found {found}; allowed: a set of categories")
    sets = starts[owners] + numbers.astype(np.int64)
    return (np.cumsum(lengths) - lengths)[owners] + firsts[sets], sizes[sets], bits


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
    if np.any(np.isnan(arrays.thresholds)):
        raise ArtifactError("model text: threshold: found nan; allowed: a number")
    parents = np.repeat(np.arange(nodes), 2)
    inner = arrays.children.ravel() >= 0
    if np.any(arrays.children.ravel()[inner] <= parents[inner]):
        raise ArtifactError("model text: left_child, right_child: found a child before its parent")
    if not np.all(np.isfinite(arrays.leaf_values)):
        raise ArtifactError("model text: leaf_value: found a number that is not finite")
