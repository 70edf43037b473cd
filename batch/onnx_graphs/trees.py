"""Trees as one TreeEnsemble of float64: sets of categories, missing values and sums are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from batch.onnx_graphs.graph import INPUT, ML, Graph
from learners.tree_arrays import TreeArrays

_AT_MOST, _MEMBER = 0, 6  # modes of a node
_SUM = 1
_FIRST = 1  # category 0 as a member: onnx's own evaluator takes a member of 0 for a set's end


def trees_graph(graph: Graph, arrays: TreeArrays) -> str:
    """Raw scores (rows, 1).

    A float32 as a float64 is on the side of a float64 threshold that LightGBM puts it on. A
    category is its number without what comes after the point, as in LightGBM's integer cast.
    """
    vectors = graph.cast(INPUT, np.float64)
    sets = np.flatnonzero(arrays.words > 0)
    of_sets, places = np.unique(arrays.split_features[sets], return_inverse=True)
    features = arrays.split_features.astype(np.int64)
    if len(sets):
        features[sets] = len(arrays.features) + places
        codes = _cut(graph, graph.columns(vectors, of_sets))
        vectors = graph.add("Concat", vectors, codes, axis=1)
    lone = arrays.roots < 0
    constant = float(arrays.leaf_values[~arrays.roots[lone]].sum())
    if lone.all():
        first = graph.add("Shape", INPUT, end=1)
        sides = graph.add("Concat", first, graph.constant([1], np.int64), axis=0)
        return graph.add("Expand", graph.constant([constant], np.float64), sides)
    raw = graph.add("TreeEnsemble", vectors, domain=ML, **_attributes(arrays, features))
    return graph.add("Add", raw, graph.constant([constant], np.float64)) if lone.any() else raw


def _cut(graph: Graph, numbers: str) -> str:
    """One more than each number without what comes after the point."""
    zero = graph.constant(0.0, np.float64)
    up, down = graph.add("Ceil", numbers), graph.add("Floor", numbers)
    whole = graph.add("Where", graph.add("Less", numbers, zero), up, down)
    return graph.add("Add", whole, graph.constant(float(_FIRST), np.float64))


def _attributes(arrays: TreeArrays, features: NDArray[np.int64]) -> dict[str, Any]:
    # Sets belong to nodes by their order: some evaluators go by numbers, some down the left sides.
    order = _left_first(arrays)
    renumbered = np.empty(len(order), np.int64)
    renumbered[order] = np.arange(len(order))
    is_set = arrays.words[order] > 0
    modes = np.where(is_set, _MEMBER, _AT_MOST).astype(np.uint8)
    missing_left = ~is_set & ~arrays.missing_right[order]
    found = {
        "n_targets": 1,
        "aggregate_function": _SUM,
        "post_transform": 0,
        "tree_roots": renumbered[arrays.roots[arrays.roots >= 0]].tolist(),
        "nodes_featureids": features[order].tolist(),
        "nodes_modes": _tensor("modes", modes),
        "nodes_splits": _tensor("splits", arrays.thresholds[order]),
        "nodes_missing_value_tracks_true": missing_left.astype(int).tolist(),
        "leaf_targetids": [0] * len(arrays.leaf_values),
        "leaf_weights": _tensor("weights", arrays.leaf_values),
    }
    for side, children in zip(("true", "false"), arrays.children[order].T, strict=True):
        leafs = children < 0
        # A child's number is one among nodes or one among leaves.
        numbers = np.where(leafs, ~children, renumbered[np.where(leafs, 0, children)])
        found[f"nodes_{side}nodeids"] = numbers.tolist()
        found[f"nodes_{side}leafs"] = leafs.astype(int).tolist()
    if is_set.any():
        found["membership_values"] = _tensor("members", _members(arrays, order[is_set]))
    return found


def _left_first(arrays: TreeArrays) -> NDArray[np.int64]:
    """The nodes of all trees, each before those of its left side, and these before its right."""
    order: list[int] = []
    children = arrays.children.tolist()
    for root in arrays.roots.tolist():
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if node >= 0:
                order.append(node)
                waiting += reversed(children[node])
    return np.array(order, np.int64)


def _members(arrays: TreeArrays, nodes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The categories of each of the nodes' sets, each set followed by NaN."""
    found: list[NDArray[np.float64]] = []
    for node in nodes.tolist():
        first = int(arrays.first_word[node])
        words = arrays.bits[first : first + int(arrays.words[node])]
        bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
        found += [_FIRST + np.flatnonzero(bits).astype(np.float64), np.array([np.nan])]
    return np.concatenate(found)


def _tensor(name: str, values: NDArray[Any]) -> Any:
    dtype = helper.np_dtype_to_tensor_dtype(values.dtype)
    return helper.make_tensor(name, dtype, values.shape, values.tobytes(), raw=True)
