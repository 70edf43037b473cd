"""The blend of a mixture in plain NumPy, written from the papers' formulas; one example a call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.learner_kinds import Mixture
from tidemill.tasks import Task

SLEEP = 32
Floats = NDArray[np.float64]


class SlowMixture:
    """Exponential weights with shares and an adaptive rate over experts and Newton's stackers."""

    def __init__(self, task: Task, settings: Mixture, warm: list[bool]) -> None:
        self.kind, self.settings = task.kind, settings
        self.ways = {"binary": 2, "regression": 1}.get(task.kind, task.classes)
        self.warm = np.array(warm)
        self.biases = max(self.ways - 1, 1)
        experts, recents = len(warm), len(settings.recent)
        start = np.concatenate([warm / self.warm.sum(), np.zeros(recents + self.biases)])
        self.coefficients = [start.copy() for _ in settings.memories]
        known = np.diag(np.r_[np.zeros(experts + recents), np.ones(self.biases)])
        if self.kind != "regression":
            known[:experts, :experts] += np.outer(warm, warm)
        origin = settings.prior * np.eye(len(start)) + settings.calm / 4 * known
        self.curvatures = [origin.copy() for _ in settings.memories]
        count = self.warm.sum() + len(settings.memories)
        self.shares = np.r_[self.warm, np.ones(len(settings.memories))] / count
        fill = 0.0 if self.kind == "regression" else 1 / self.ways
        self.recents = np.full((recents, self.ways), fill)
        self.rate, self.gap, self.count = 0.0 if self.kind == "regression" else 1.0, 0.0, 0
        self.errors: list[float] = []
        self.labels: list[float] = []

    def learn(self, advice: Floats, label: float, weight: float = 1.0) -> Any:
        """What is predicted for a row of advice before its label is learned; values weigh 1."""
        if self.kind == "regression":
            return self._learn_value(advice, label)
        if self.kind == "binary":
            advice = np.stack([1 - advice, advice], axis=1)
        mixed = self._learn_class(advice, int(label), weight)
        return mixed[1] if self.kind == "binary" else mixed

    def _learn_class(self, advice: Floats, label: int, weight: float) -> Floats:
        awake = self.count >= SLEEP
        experts = np.log(advice) * (self.warm | awake)[:, None]
        recents = np.log(np.maximum(self.recents, 1e-3)) * awake
        biases = np.eye(self.biases, self.ways)
        inputs = np.concatenate([experts, recents, biases])
        stacked = [_softmax(coefficients @ inputs) for coefficients in self.coefficients]
        given = np.array([*advice, *stacked])
        mixed = self.shares @ given
        self._hedge(-weight * np.log(given[:, label]), -weight * np.log(mixed[label]))
        for k, scores in enumerate(stacked):
            spread = (inputs * scores) @ inputs.T - np.outer(inputs @ scores, inputs @ scores)
            self._newton(k, weight * spread, weight * (inputs @ scores - inputs[:, label]))
        for k, half in enumerate(self.settings.recent):
            kept = 0.5 ** (1 / half)
            self.recents[k] = kept * self.recents[k] + (1 - kept) * np.eye(self.ways)[label]
        return mixed

    def _learn_value(self, advice: Floats, label: float) -> float:
        awake = self.count >= SLEEP
        low, high = min([*self.labels, advice[0]]), max([*self.labels, advice[0]])
        experts = np.clip(advice, low, high)
        scale = np.sqrt(np.mean(self.errors)) if self.errors else 0.0
        inputs = np.r_[
            (experts - advice[0]) * (self.warm | awake),
            (self.recents[:, 0] - advice[0]) * awake,
            scale,
        ]
        stacked = np.clip([advice[0] + c @ inputs for c in self.coefficients], low, high)
        given = np.r_[experts, stacked]
        mixed = float(self.shares @ given)
        self.errors.append((label - advice[0]) ** 2)
        self.labels.append(label)
        variance = np.mean(self.errors)
        inputs[-1] = np.sqrt(variance)
        if awake:
            self.rate = self.rate or 1 / (2 * variance)
            self._hedge((label - given) ** 2, (label - mixed) ** 2)
        else:
            self.count += 1
        for k, value in enumerate(stacked):
            slope = (value - label) * inputs / variance
            self._newton(k, np.outer(inputs, inputs) / variance, slope)
        for k, half in enumerate(self.settings.recent):
            kept = 0.5 ** (1 / half) if self.count > 1 else 0.0
            self.recents[k] = kept * self.recents[k] + (1 - kept) * label
        return mixed

    def _hedge(self, losses: Floats, loss: float) -> None:
        count, calm = len(losses), self.settings.calm
        factors = self.shares * np.exp(-self.rate * (losses - losses.min()))
        mix = losses.min() - np.log(factors.sum()) / self.rate
        self.gap += max(0.0, loss - mix)
        shares = factors / factors.sum()
        rate = min(self.rate, (2 * np.log(count) + np.log(calm + 1)) / max(self.gap, 1e-300))
        shares = shares ** (rate / self.rate)
        shares[factors == 0] = 0
        self.rate = rate
        self.count += 1
        part = self.settings.share or 1 / (calm + self.count)
        self.shares = (1 - part) * shares / shares.sum() + part / count

    def _newton(self, k: int, curvature: Floats, slope: Floats) -> None:
        forget = 1 / self.settings.memories[k]
        origin = self.settings.prior * np.eye(len(slope))
        self.curvatures[k] = (1 - forget) * self.curvatures[k] + forget * origin + curvature
        self.coefficients[k] = self.coefficients[k] - np.linalg.solve(self.curvatures[k], slope)


def _softmax(raw: Floats) -> Floats:
    powers = np.exp(raw - raw.max())
    return powers / powers.sum()
