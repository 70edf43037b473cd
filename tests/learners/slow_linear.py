"""The linear learner in plain Python: dictionaries, no slots, no kernel."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.linear.frozen import FrozenLinear
from tidemill.learner_kinds import Linear
from tidemill.tasks import Task

Key = tuple[Any, ...]


class SlowLinear:
    """One weight for each (column, what it is) and output; categories are never hashed.

    `offsets` gives a release's raw scores for a vector; `primed` the optimizer's first sum of
    squares and the first weight of a key and output.
    """

    def __init__(  # noqa: PLR0913  a reference takes what the learner is made of
        self,
        settings: Linear,
        task: Task,
        categorical: set[int],
        columns: int,
        primed: Callable[[Key, int], tuple[float, float]],
        unit: float = 1.0,
        moments: NDArray[np.float64] | None = None,
    ) -> None:
        self.task, self.outputs = task, task.classes or 1
        self.categorical = categorical
        self.ftrl = settings.optimizer == "ftrl"
        self.alpha, self.beta = settings.learning_rate * unit, settings.beta * unit
        self.l1, self.l2 = settings.l1 * unit, settings.l2
        self.max_step = math.inf if settings.max_step is None else settings.max_step * unit
        self.values: list[list[float]] = [[] for _ in range(columns)]
        self.moments, self.primed = moments, primed
        self.weights: dict[tuple[Key, int], float] = {}
        self.z: dict[tuple[Key, int], float] = defaultdict(float)
        self.n: dict[tuple[Key, int], float] = {}

    def pairs(self, vector: NDArray[np.float32]) -> list[tuple[Key, float]]:
        """The named inputs of a vector."""
        found: list[tuple[Key, float]] = [(("bias",), 1.0)]
        for column, value in enumerate(vector.tolist()):
            if column in self.categorical:
                found.append(((column, "is", value), 1.0))
            elif math.isnan(value):
                found.append(((column, "missing"), 1.0))
            else:
                found.append(((column, "value"), self.scaled(column, value)))
        return found

    def scaled(self, column: int, value: float) -> float:
        """A value by the mean and spread of those before it, or of the release."""
        if self.moments is not None:
            count, mean, squares = self.moments[column]
        else:
            seen = np.array(self.values[column] or [0.0])
            count, mean, squares = len(seen), seen.mean(), ((seen - seen.mean()) ** 2).sum()
        if squares <= 1e-9:
            return 0.0
        scaled = (value - mean) / math.sqrt(squares / count)
        return float(np.float32(min(max(scaled, -10), 10)))

    def learn(self, vector: NDArray[np.float32], label: float, offset: list[float]) -> list[float]:
        """The prediction before the example was learned."""
        pairs = self.pairs(vector)
        raws = [
            offset[k] + sum(value * self.weight(key, k) for key, value in pairs)
            for k in range(self.outputs)
        ]
        scores = self.linked(raws)
        for k in range(self.outputs):
            target = label if self.task.kind != "multiclass" else float(label == k)
            self.descend(pairs, k, scores[k] - target)
        for column, value in enumerate(vector.tolist()):
            if not math.isnan(value):
                self.values[column].append(value)
        return scores

    def linked(self, raws: list[float]) -> list[float]:
        """Predictions of weighted sums."""
        if self.task.kind == "binary":
            return [1 / (1 + math.exp(-raws[0]))]
        if self.task.kind == "regression":
            return raws
        powers = [math.exp(raw - max(raws)) for raw in raws]
        return [power / sum(powers) for power in powers]

    def weight(self, key: Key, k: int) -> float:
        """A weight; begins as it is primed."""
        if (key, k) not in self.weights:
            self.n[key, k], weight = self.primed(key, k)
            self.weights[key, k] = weight
            pull = (self.beta + math.sqrt(self.n[key, k])) / self.alpha + self.l2
            self.z[key, k] = -weight * pull - np.sign(weight) * self.l1
        return self.weights[key, k]

    def descend(self, pairs: list[tuple[Key, float]], k: int, slope: float) -> None:
        """Every weight's step, all shortened alike when their sum would be too long."""
        moved = 0.0
        for key, value in pairs:
            n = self.n[key, k] + (slope * value) ** 2
            if value:
                step = abs(slope) * value**2 / ((self.beta + math.sqrt(n)) / self.alpha + self.l2)
                moved += step
        share = min(1.0, self.max_step / moved)
        for key, value in pairs:
            before, gradient = self.weights[key, k], slope * value
            if gradient == 0:
                continue
            n = self.n[key, k] + gradient**2
            scale = (self.beta + math.sqrt(n)) / self.alpha
            if self.ftrl:
                sigma = (math.sqrt(n) - math.sqrt(self.n[key, k])) / self.alpha
                self.z[key, k] += share * gradient - sigma * before
                pulled = -self.z[key, k]
            else:
                pulled = scale * before - share * gradient
            after = math.copysign(max(0.0, abs(pulled) - self.l1), pulled) / (scale + self.l2)
            self.weights[key, k], self.n[key, k] = after, n


def primed_by(release: FrozenLinear, share: float, floor: float) -> Callable[..., Any]:
    """The first sums of squares and weights after a linear release without hashing."""
    encoder = release.encoder()
    numeric = [i for i, name in enumerate(release.features) if name not in release.categorical]
    slots: dict[Key, int] = {("bias",): 0}
    for place, column in enumerate(numeric):
        slots[column, "value"], slots[column, "missing"] = 1 + 2 * place, 2 + 2 * place
    for number, key in enumerate(encoder.keys.tolist()):
        value = float(np.array([key & 0xFFFFFFFF], np.uint32).view(np.float32)[0])
        slots[key >> 32, "is", value] = 1 + 2 * len(numeric) + number
    sums = np.maximum(share * release.evidence, floor * release.unit**2)

    def primed(key: Key, output: int) -> tuple[float, float]:
        if key not in slots:
            return float(sums.min()), 0.0
        return float(sums[slots[key], output]), float(release.weights[slots[key], output])

    return primed
