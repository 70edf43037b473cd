"""Reads a LightGBM model in its text format into flat arrays, without loading LightGBM."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from learners.decimals import Floats, Places, read_decimals
from learners.tree_arrays import TreeArrays, check_trees, starts
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION, Task

# decision_type of the text format (LightGBM include/LightGBM/tree.h): bit 0 says categorical, bit 1
# that missing values go left, bits 2-3 what counts as missing.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2
_MISSING_ZERO, _MISSING_NAN = 1, 2
_TASKS = {"binary sigmoid:1": BINARY, "regression": REGRESSION}
# The lines that are read: of what is said of the model, and of each tree.
_HEAD = ("version", "num_class", "num_tree_per_iteration", "objective", "feature_names")
_FIELDS = (
    "num_leaves", "num_cat", "split_feature", "threshold", "decision_type", "left_child",
    "right_child", "leaf_value", "leaf_weight", "leaf_count", "cat_boundaries", "cat_threshold",
    "is_linear",
)  # fmt: skip
_NAMES = {name: place for place, name in enumerate(_HEAD + _FIELDS)}
_TREE, _LAST = (np.frombuffer(word, np.uint8) for word in (b"Tree", b"end of trees"))
_NEWLINE, _EQUALS = np.uint8(ord("\n")), np.uint8(ord("="))


def parse_model(text: bytes) -> TreeArrays:
    """Read a classifier of two classes or a regression.

    Raises ArtifactError for what this module cannot read exactly.
    """
    spans = _spans(np.frombuffer(text, np.uint8), *_names())
    task, features = _head(text, spans[0])
    if len(spans) == 1:
        raise ArtifactError("model text: found no tree; allowed: one or more")
    arrays = _arrays(task, features, _Trees(text, spans[1:]))
    check_trees(arrays, "model text")
    return arrays


@cache
def _names() -> tuple[NDArray[np.uint8], Places]:
    """The names of the lines that are read, one after the other, and where each ends."""
    lengths = np.array([len(name) for name in _NAMES], np.int64)
    return np.frombuffer("".join(_NAMES).encode(), np.uint8), np.cumsum(lengths)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _spans(text: NDArray[np.uint8], names: NDArray[np.uint8], ends: Places) -> Places:
    """Where in the text what follows the `=` of each named line begins and ends; 0 without one.

    (1 + trees, names, 2): the first are the head's, which ends, as each tree does, with an empty
    line.
    """
    most = 2  # the head, and a tree that begins on the first line
    for place in range(1, len(text)):
        most += (text[place - 1] == _NEWLINE) & (text[place] == _TREE[0])
    found = np.zeros((most, len(ends), 2), np.int64)
    block, within, line = 0, True, 0
    while line < len(text):
        equals, end = _line(text, line)
        if equals < 0:
            within &= end > line
            if _same(text[line:end], _LAST):
                break
        elif _same(text[line:equals], _TREE):
            block, within = block + 1, True
        elif within:
            for place in range(len(ends)):
                first = ends[place - 1] if place > 0 else 0
                if _same(text[line:equals], names[first : ends[place]]):
                    found[block, place] = equals + 1, end
        line = end + 1
    return found[: block + 1]


@numba.njit(inline="always")
def _line(text: NDArray[np.uint8], begin: int) -> tuple[int, int]:
    """Of the line that begins there, where its first `=` is, -1 without one, and its end."""
    equals, end = -1, begin
    while end < len(text) and text[end] != _NEWLINE:
        if equals < 0 and text[end] == _EQUALS:
            equals = end
        end += 1
    return equals, end


@numba.njit(inline="always")
def _same(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> bool:
    if len(some) != len(others):
        return False
    for place in range(len(some)):
        if some[place] != others[place]:
            return False
    return True


def _head(text: bytes, spans: Places) -> tuple[Task, tuple[str, ...]]:
    def told(name: str) -> str | None:
        first, last = spans[_NAMES[name]].tolist()
        return text[first:last].decode() if last else None

    try:
        head = {name: told(name) for name in _HEAD}
    except UnicodeDecodeError as error:
        raise ArtifactError(f"model text: {type(error).__name__}: {error}") from error
    for name, allowed in (("version", "v4"), ("num_class", "1"), ("num_tree_per_iteration", "1")):
        if head[name] != allowed:
            raise ArtifactError(f"model text: {name}: found {head[name]}; allowed: {allowed}")
    found = head["objective"]
    if found not in _TASKS:
        allowed = ", ".join(_TASKS)
        raise ArtifactError(f"model text: objective: found {found}; allowed: {allowed}")
    names = head["feature_names"]
    if not names:
        raise ArtifactError(f"model text: feature_names: found {names}; allowed: one or more")
    return _TASKS[found], tuple(names.split(" "))


class _Trees:
    """The numbers of all trees, field by field, those of one tree after those of the other."""

    def __init__(self, text: bytes, spans: Places) -> None:
        self._text, self._spans = text, spans

    def has(self, name: str) -> NDArray[np.bool_]:
        """Which trees have a field."""
        return self._spans[:, _NAMES[name], 1] > 0

    def counts(self, name: str, least: int) -> Places:
        """A field that says of each tree how many it has of something."""
        found = self.whole(name, np.ones(len(self._spans), np.int64))
        if found.min() < least:
            raise ArtifactError(
                f"model text: {name}: found {found.min()}; allowed: from {least} on"
            )
        return found.astype(np.int64)

    def floats(self, name: str, counts: Places) -> Floats:
        """The numbers of a field, so many in each tree; where that is none nobody looks."""
        spans = self._spans[:, _NAMES[name]] * (counts > 0)[:, None]
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
    owners = np.repeat(np.arange(len(leaves), dtype=np.int32), nodes)
    first_word, words = np.zeros((2, len(owners)), np.int32)
    first_word[categorical], words[categorical], bits = _sets(
        trees, owners[categorical], thresholds[categorical]
    )
    leaf_starts, node_starts = starts(leaves), starts(nodes)
    children = np.empty((len(owners), 2), np.int32)
    for side, name in enumerate(("left_child", "right_child")):
        child = trees.whole(name, nodes)
        # ~(leaf + start) == ~leaf - start
        children[:, side] = child + np.where(child >= 0, node_starts[owners], -leaf_starts[owners])
    return TreeArrays(
        task=task,
        features=features,
        split_features=trees.whole("split_feature", nodes),
        thresholds=np.where(categorical, 0.0, thresholds),
        missing_right=categorical | _missing_right(decisions, thresholds, categorical),
        first_word=first_word,
        words=words,
        children=children,
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
    trees: _Trees, owners: NDArray[np.int32], numbers: Floats
) -> tuple[Places, Places, NDArray[np.uint32]]:
    """First word and words of categorical nodes, and all bits.

    `owners` are the nodes' trees, `numbers` their sets among the tree's.
    """
    counts = trees.counts("num_cat", 0)
    has = counts > 0
    bounds = trees.whole("cat_boundaries", np.where(has, counts + 1, 0)).astype(np.int64)
    lasts = np.cumsum(counts[has] + 1) - 1
    firsts, sizes = np.delete(bounds, lasts), np.delete(np.diff(bounds, append=0), lasts)
    first_sets = np.cumsum(counts) - counts  # of each tree
    if np.any(sizes < 1) or np.any(firsts[first_sets[has]]):
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
    sets = first_sets[owners] + numbers.astype(np.int64)
    return (np.cumsum(lengths) - lengths)[owners] + firsts[sets], sizes[sets], bits
