"""The embedding net in NumPy's float64 and dictionaries: a block at a time, no kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.net.embedding_net import EmbeddingNet
from learners.net.layers import CLIP
from learners.net.table import FIRST_SPREAD, FIRST_SUM
from tidemill.learner_kinds import EmbeddingNet as Settings
from tidemill.tasks import Task

_MASK = (1 << 64) - 1


def _mix(key: int) -> int:
    bits = (key + 0x9E3779B97F4A7C15) & _MASK
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _MASK
    return bits ^ (bits >> 31)


class SlowNet:
    """Learns as EmbeddingNet does; ids never expire, and there is room for all."""

    def __init__(self, start: EmbeddingNet, settings: Settings, categorical: list[int]) -> None:
        self.task: Task = start.task
        self.settings, self.categorical = settings, categorical
        network = start.network
        self.weights = _floats(start.shape.layers(network.dense))
        self.sums = _floats(start.shape.layers(network.sums))
        self.embeddings: dict[Any, NDArray[np.float64]] = {}
        self.embedding_sums: dict[Any, NDArray[np.float64]] = {}
        width, rows = settings.embedding, network.table.all_rows()
        for number, key in enumerate(rows.keys.tolist()):
            value = np.array(key & 0xFFFFFFFF if key >= 0 else 0, np.uint32).view(np.float32)
            name = categorical[number if key < 0 else key >> 32]
            name = (name, "missing" if np.isnan(value) else float(value)) if key >= 0 else name
            self.embeddings[name] = rows.values[number, :width].astype(float)
            self.embedding_sums[name] = rows.values[number, width:].astype(float)
        self.counts: dict[Any, int] = {}
        self.numeric = start.shape.numeric_places.tolist()
        self.moments = [tuple(column) for column in network.moments.T.tolist()]
        self.scaling = [_scaling(*column) for column in self.moments]
        self.scale, self.center = network.scale, network.center

    def learn(
        self, vectors: NDArray[np.float32], labels: NDArray[Any], offsets: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Predictions before learning; the last rows may fill no block."""
        offsets, parts = offsets.reshape(len(vectors), -1), []
        block = self.settings.block
        for start in range(0, len(vectors), block):
            rows = slice(start, start + block)
            raw, inputs, names = self._forward(vectors[rows], offsets[rows])
            parts.append(self._predictions(raw))
            if start + block <= len(vectors):
                self._learn_block(parts[-1], inputs, names, labels[rows].astype(float))
                self._take_in(vectors[rows])
        scores = np.concatenate(parts)
        return scores if self.task.kind == "multiclass" else scores[:, 0]

    def _name(self, column: int, value: float) -> Any:
        name = (column, "missing" if np.isnan(value) else float(value))
        return name if name in self.embeddings else column

    def _forward(self, vectors: NDArray[np.float32], offsets: NDArray[np.float64]) -> Any:
        rows, names = [], []
        for vector in vectors:
            numbers = vector[self.numeric].astype(float)
            missing = ~np.isfinite(numbers)
            scaled = [
                0 if gone else min(max((value - mean) * inverse, -CLIP), CLIP)
                for value, gone, (mean, inverse) in zip(numbers, missing, self.scaling, strict=True)
            ]
            names.append([(c, self._name(c, vector[c]), vector[c]) for c in self.categorical])
            ids = [self.embeddings[name] for _, name, _ in names[-1]]
            rows.append(np.concatenate([scaled, missing, *ids]))
        inputs = [np.array(rows)]
        for number in range(0, len(self.weights), 2):
            made = inputs[-1] @ self.weights[number] + self.weights[number + 1]
            last = number + 2 == len(self.weights)
            inputs.append(made if last else np.maximum(made, 0))
        return offsets + self.center + self.scale * inputs[-1], inputs, names

    def _predictions(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.task.kind == "binary":
            return 1 / (1 + np.exp(-raw))
        if self.task.kind == "regression":
            return raw
        powers = np.exp(raw)
        return powers / powers.sum(axis=1, keepdims=True)

    def slopes(self, scores: NDArray[np.float64], labels: NDArray[np.float64]) -> Any:
        """Of the loss by the last layer's outputs."""
        if self.task.kind == "multiclass":
            return scores - np.eye(self.task.classes)[labels.astype(int)]
        slopes = scores - labels[:, None]
        if self.task.kind == "regression":
            self.scale = self.scale or float(np.sqrt((slopes**2).mean()))
            slopes = np.clip(slopes / self.scale, -8, 8)
        return slopes

    def _learn_block(self, scores: Any, inputs: Any, names: Any, labels: Any) -> None:
        upper, gradients = self.slopes(scores, labels), [np.empty(0)] * len(self.weights)
        for number in range(len(self.weights) - 2, -1, -2):
            values = inputs[number // 2]
            gradients[number], gradients[number + 1] = values.T @ upper, upper.sum(axis=0)
            upper = upper @ self.weights[number].T
            if number:
                upper = upper * (values > 0)
        for weights, sums, slopes in zip(self.weights, self.sums, gradients, strict=True):
            self._step(weights, sums, slopes)
        self._learn_ids(upper[:, 2 * len(self.numeric) :], names)

    def _step(self, weights: Any, sums: Any, slopes: Any) -> None:
        sums += slopes**2
        weights -= self.settings.learning_rate * slopes / np.sqrt(sums)

    def _learn_ids(self, slopes: NDArray[np.float64], names: Any) -> None:
        width, totals = self.settings.embedding, {}
        for row, used in enumerate(names):
            for number, (_, name, _) in enumerate(used):
                mine = slopes[row, number * width : (number + 1) * width]
                totals[name] = totals.get(name, 0) + mine
        for name, total in totals.items():
            self._step(self.embeddings[name], self.embedding_sums[name], total)
        for used in names:
            for column, name, value in used:
                if name == column:
                    self._count(column, value)

    def _count(self, column: int, value: np.float32) -> None:
        name = (column, "missing" if np.isnan(value) else float(value))
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.counts[name] != self.settings.admit_after:
            return
        missing = np.array(np.nan, np.float32)
        bits = int((missing if np.isnan(value) else value).view(np.uint32))
        state = _mix(_mix(self.categorical.index(column) << 32 | bits) ^ self.settings.seed)
        values = []
        for _ in range(self.settings.embedding):
            state = _mix(state)
            values.append(FIRST_SPREAD * ((state >> 11) * 2.0**-52 - 1))
        self.embeddings[name] = np.array(values)
        self.embedding_sums[name] = np.full(len(values), FIRST_SUM)

    def _take_in(self, vectors: NDArray[np.float32]) -> None:
        for number, place in enumerate(self.numeric):
            mean, inverse = self.scaling[number]
            values = vectors[:, place].astype(float)
            values = values[np.isfinite(values)]
            if inverse:
                values = np.clip(values, mean - CLIP / inverse, mean + CLIP / inverse)
            if len(values):
                self.moments[number] = _joined(self.moments[number], values)
            self.scaling[number] = _scaling(*self.moments[number])


def _floats(layers: Any) -> list[NDArray[np.float64]]:
    return [array.astype(float) for layer in layers for array in layer]


def _joined(moments: Any, values: NDArray[np.float64]) -> tuple[float, float, float]:
    count, mean, squares = moments
    more, off = len(values), values.mean() - mean
    total = count + more
    squares += len(values) * values.var() + off**2 * count * more / total
    return total, mean + off * more / total, squares


def _scaling(count: float, mean: float, squares: float) -> tuple[float, float]:
    spread = np.sqrt(squares / count) if count else 0.0
    return (mean, 1 / spread) if spread else (0.0, 0.0)
