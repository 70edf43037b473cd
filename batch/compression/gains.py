"""How much each feature's splits say, for trees whose text does not tell."""

from __future__ import annotations

import numpy as np

from batch.compression.forest import Floats, Forest, Tree
from batch.compression.pruning import node_means
from learners.lightgbm_text import parse_model


def shares_of_gain(model: bytes) -> dict[str, float]:
    """Each feature's share of the gain of all splits. Raises ArtifactError for a bad model.

    A split's gain is what it adds to the spread of the leaves' values, weighted with the leaves'
    weights: with Newton's leaf values that is LightGBM's gain times the squared learning rate
    (Ke et al., "LightGBM", NeurIPS 2017, definition 3.1), but for regularisation.
    """
    forest = Forest.of(parse_model(model))
    gains = np.zeros(len(forest.features))
    for tree in forest.trees:
        np.add.at(gains, tree.split_features, _gains(tree))
    total = float(gains.sum()) or 1.0
    return dict(zip(forest.features, (gains / total).tolist(), strict=True))


def _gains(tree: Tree) -> Floats:
    values, weights = node_means(tree)
    nodes = len(tree.children)
    places = np.where(tree.children >= 0, tree.children, nodes + ~tree.children)
    parts = weights[places] * (values[places] - values[:nodes, None]) ** 2
    return np.asarray(parts.sum(axis=1))
