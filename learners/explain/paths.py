"""What the ways through a model's trees have in common for all rows: shares, and quadratures."""

from __future__ import annotations

from typing import NamedTuple, Self

import numba
import numpy as np
from numpy.typing import NDArray

from learners.tree_arrays import TreeArrays

_LANES = 4  # numbers that a processor handles at once: points come in multiples of so many


class Paths(NamedTuple):
    """How a model's training rows parted, and what integrates exactly over its longest ways.

    The edges of node n to the left and right are 2n and 2n + 1. `shares` (edges,) is the part of a
    node's rows that went that way, `zeros` (edges,) that of all edges so far that asked the same
    feature, of which `above` (edges,) is the one before, -1 for none. `rules` (kinds, 4, points)
    are Gauss-Legendre rules on 0 to 1, filled up with zeros: points t, 1 - t, weights, weights /
    (1 - t); `which` (trees,) says which of them is a tree's, `points` (kinds,) how many points it
    has.
    """

    shares: NDArray[np.float64]
    zeros: NDArray[np.float64]
    above: NDArray[np.int32]
    which: NDArray[np.int64]
    points: NDArray[np.int64]
    rules: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: TreeArrays) -> Self:
        """Those of a model's trees."""
        shares, heights = _measured(arrays.children, arrays.leaf_covers)
        zeros, above = _joined(arrays.children, arrays.split_features, shares)
        depths = np.zeros(len(arrays.roots), np.int64)
        depths[arrays.roots >= 0] = heights[arrays.roots[arrays.roots >= 0]]
        # A rule of n points is exact to degree 2n - 1; a way over d features needs degree d - 1.
        degrees = np.minimum(depths, len(arrays.features))
        needed = _LANES * np.maximum(-(-degrees // (2 * _LANES)), 1)
        points, which = np.unique(needed, return_inverse=True)
        rules = np.zeros((len(points), 4, int(points[-1])))
        for rule, count in zip(rules, points.tolist(), strict=True):
            rule[:, :count] = _rule(count)
        return cls(shares, zeros, above, which.astype(np.int64), points.astype(np.int64), rules)


def _rule(count: int) -> NDArray[np.float64]:
    places, weights = np.polynomial.legendre.leggauss(count)
    points, rests = (1 + places) / 2, (1 - places) / 2
    return np.stack([points, rests, weights / 2, weights / 2 / rests])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _measured(
    children: NDArray[np.int32], covers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The share of rows of each edge, and the longest way from each node to a leaf."""
    nodes = len(children)
    shares, totals = np.empty(2 * nodes), np.zeros(nodes)
    heights = np.ones(nodes, np.int64)
    for node in range(nodes - 1, -1, -1):  # children have higher numbers
        left = 0.0
        for side in range(2):
            child = children[node, side]
            cover = totals[child] if child >= 0 else covers[~child]
            if child >= 0:
                heights[node] = max(heights[node], 1 + heights[child])
            if side == 0:
                left = cover
            totals[node] += cover
        # Where no row is known to have come by, either way is as likely.
        share = left / totals[node] if totals[node] > 0 else 0.5
        shares[2 * node] = min(max(share, 0.0), 1.0)
        shares[2 * node + 1] = 1 - shares[2 * node]
    return shares, heights


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _joined(
    children: NDArray[np.int32], split_features: NDArray[np.int32], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Each edge's share times those of the edges above with its feature, and the last of these."""
    nodes = len(children)
    into = np.full(nodes, -1, np.int32)  # the edge to each node
    zeros, above = shares.copy(), np.full(2 * nodes, -1, np.int32)
    for node in range(nodes):  # parents have lower numbers
        found = into[node]
        while found >= 0 and split_features[found // 2] != split_features[node]:
            found = into[found // 2]
        for side in range(2):
            edge = 2 * node + side
            if found >= 0:
                above[edge] = found
                zeros[edge] *= zeros[found]
            if children[node, side] >= 0:
                into[children[node, side]] = edge
    return zeros, above
