"""Smaller trees: less text, fewer splits, fewer rounds, or a smaller forest that was taught."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from batch.compression.family import MOST_ROWS, Material, some_of
from batch.compression.forest import Floats, Forest
from batch.compression.pruning import costs, pruned, refitted
from batch.trainers.trainer import TrainingRows
from learners.learner import Frozen, Vectors
from learners.lightgbm_text import parse_model
from learners.release import TREES_FILE, ModelFile
from learners.trees import FrozenTrees

_DECIMALS = 4  # of a unit of the raw score, in all leaves that a row falls into together
_FITTED = (0.0, 0.3, 0.6)  # how far leaves move towards those that fit the release best
_MOST_CELLS = 20_000_000  # of rows times trees in memory: 80 MB
_TAUGHT_KEEP = 0.6  # of a taught forest's splits remain
_CHUNK_ROWS = 10_000
_LOG = logging.getLogger(__name__)


class Trees:
    """See `Family`.

    `distil`: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015),
    section 2.1 (matching logits), weighted with p(1-p) as Newton's step on the log-loss has it.
    """

    strengths: ClassVar[Mapping[str, Sequence[float]]] = {
        "slim": (1.0,),
        "prune": (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.02, 0.01),
        "rounds": (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05),
        "distil": (0.5, 0.3, 0.2, 0.13, 0.08),
    }

    def __init__(self, material: Material) -> None:
        arrays = parse_model(material.model.data)
        self._frozen = FrozenTrees.parse(material.model.data)
        self._forest = Forest.of(arrays)
        self._threads = material.threads
        self._all = material.rows
        most = max(1, min(MOST_ROWS, _MOST_CELLS // len(arrays.leaf_counts)))
        self._rows = some_of(material.rows, most)
        size = self._frozen.unit / np.sqrt(len(arrays.leaf_counts))
        self._decimals = _DECIMALS - int(np.floor(np.log10(size)))

    @cached_property
    def _answers(self) -> tuple[Floats, Floats]:
        return self._teach(self._rows)

    @cached_property
    def _costs(self) -> list[Floats]:
        return costs(self._forest)

    def variants(self, method: str, keep: float) -> Sequence[ModelFile]:
        """See `Family`."""
        if method == "slim":
            return [self._file(self._forest)]
        if method == "prune":
            return self._fitted(pruned(self._forest, self._costs, keep))
        count = max(1, round(keep * len(self._forest.trees)))
        if method == "rounds":
            return self._fitted(replace(self._forest, trees=self._forest.trees[:count]))
        taught = self._taught(count)
        return self._fitted(pruned(taught, costs(taught), _TAUGHT_KEEP))

    @staticmethod
    def operations(model: Frozen, vectors: Vectors) -> float:
        """Nodes visited, and one for each tree."""
        assert isinstance(model, FrozenTrees)
        trees = Forest.of(model.arrays).trees
        depths = np.concatenate([_depths(tree.children) for tree in trees])
        return float(depths[model.leaves(vectors)].sum(axis=1).mean()) + len(model.leaf_counts)

    def _file(self, forest: Forest) -> ModelFile:
        return ModelFile(TREES_FILE, forest.text(self._decimals))

    def _fitted(self, forest: Forest) -> list[ModelFile]:
        """With its leaves as they are, and moved towards the answers of the whole forest."""
        trees = FrozenTrees.parse(self._file(forest).data)
        if not len(self._rows):
            return [self._file(forest)]
        values = trees.leaf_values
        best = refitted(trees, trees.leaves(self._rows.vectors), *self._answers)
        moved = [(1 - share) * values + share * best for share in _FITTED]
        return [self._file(forest.with_leaves(values)) for values in moved]

    def _teach(self, rows: TrainingRows) -> tuple[Floats, Floats]:
        """Raw scores of the whole forest for rows, and how much each row counts."""
        starts = range(0, len(rows), _CHUNK_ROWS)
        parts = [self._frozen.raw_many(rows.vectors[s : s + _CHUNK_ROWS]) for s in starts]
        raw = np.concatenate([np.empty(0), *parts])
        if self._frozen.task.kind == "regression":
            return raw, rows.weights
        chance = self._frozen.predictions_of(raw)
        return raw, rows.weights * np.maximum(chance * (1 - chance), 1e-6)

    def _taught(self, rounds: int) -> Forest:
        """A forest of so many trees that learned the raw scores, its leaves weighed by the rows."""
        import lightgbm

        # Hashed categories have gaps; LightGBM says so, whatever its verbosity.
        lightgbm.register_logger(_LOG, "debug", "debug")
        raw, weights = self._teach(self._all)
        data = lightgbm.Dataset(
            self._all.vectors, raw, weight=weights, feature_name=list(self._forest.features),
            categorical_feature=self._categorical(), params=self._parameters(rounds),
        )  # fmt: skip
        booster = lightgbm.train(self._parameters(rounds), data, rounds)
        arrays = parse_model(booster.model_to_string().encode())
        forest = replace(Forest.of(arrays), task=self._forest.task)
        trees = FrozenTrees.parse(self._file(forest).data)
        found = np.zeros(forest.leaves)
        for start in range(0, len(raw), _CHUNK_ROWS):
            leaves = trees.leaves(self._all.vectors[start : start + _CHUNK_ROWS])
            each = np.repeat(weights[start : start + _CHUNK_ROWS], leaves.shape[1])
            found += np.bincount(leaves.ravel(), each, forest.leaves)
        return forest.with_leaves(arrays.leaf_values, found)

    def _categorical(self) -> list[str]:
        """Features that are split by sets; one that never was is as good as a number."""
        trees = self._forest.trees
        features = np.concatenate([tree.split_features for tree in trees])
        sets = np.array([len(words) > 0 for tree in trees for words in tree.words], np.bool_)
        return [self._forest.features[feature] for feature in np.unique(features[sets])]

    def _parameters(self, rounds: int) -> dict[str, Any]:
        return {
            "objective": "regression",
            "num_leaves": max(2, *(len(tree.values) for tree in self._forest.trees)),
            "learning_rate": float(np.clip(10 / rounds, 0.02, 0.5)),
            "seed": 7,
            "num_threads": self._threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _depths(children: NDArray[np.int32]) -> NDArray[np.int32]:
    """How many nodes lie above each leaf."""
    nodes = np.zeros(len(children), np.int32)
    leaves = np.zeros(len(children) + 1, np.int32)
    for node in range(len(children)):
        for child in children[node]:
            if child >= 0:
                nodes[child] = nodes[node] + 1
            else:
                leaves[~child] = nodes[node] + 1
    return leaves
