"""What a mixture knows of its experts: who is trusted how much, and how best to combine them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores
from learners.mixture import kernels
from learners.mixture.kernels import GAP, HIGH, LOW, NUMBERS, RATE
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import Mixture as Settings
from tidemill.tasks import Task

_LARGEST_VARIANCE = 0.25  # of a label that is 0 or 1
MOST_BIASES = 8  # classes; with more, a bias for each would cost more than it brings


class _Arrays(NamedTuple):
    """Everything that learning changes, float64."""

    shares: NDArray[np.float64]  # (experts + stackers,)
    coefficients: NDArray[np.float64]  # (stackers, inputs)
    curvatures: NDArray[np.float64]  # (stackers, inputs, inputs)
    recents: NDArray[np.float64]  # (recents, classes), a regression's (recents, 1)
    numbers: NDArray[np.float64]  # kernels.NUMBERS


class Blend:
    """Forecasters weighed by what they lost: the experts, and stackers of all experts.

    *Weights*: exponential weights over N forecasters, Vovk, "A Game of Prediction with Expert
    Advice" (JCSS 1998); Cesa-Bianchi and Lugosi, "Prediction, Learning, and Games" (2006), section
    3.3: the weighted mean of probabilities is a mixable prediction for the log-loss at rate 1.
    *Shares*: after each example every forecaster receives an Nth of a share, Herbster and
    Warmuth, "Tracking the Best Expert" (Machine Learning 1998); the share falls as
    1 / (calm + examples), after Adamskiy, Koolen, Chernov and Vovk, "A Closer Look at Adaptive
    Regret" (JMLR 2016), unless it is declared. *Rate*: falls with the mixability gap Δ that has
    accumulated, as in de Rooij, van Erven, Grünwald and Koolen, "Follow the Leader If You Can,
    Hedge If You Must" (JMLR 2014). For probabilities it is 1 while no example weighs more than 1;
    a regression starts at half the inverse of the release's mean squared error.

    **Bound.** On every run of examples r … s the loss exceeds that of any one forecaster *on
    that run* by at most (2 ln N + ln(calm + s)) / rate + Δ, and for probabilities with weights up
    to 1, where rate = 1 and Δ = 0, by at most ln N + ln(calm + s): so m changes of the best
    forecaster cost at most (m + 1) times that. With a declared share α, ln(calm + s) is
    ln(1/α) + (s - r) ln(1/(1 - α)). A regression's bound holds from its 33rd example.

    *Stackers*: a linear combination of the experts' log-probabilities (a regression's values) by
    Newton's step on the log-loss (squared loss), the online Newton step of Hazan, Agarwal and Kale
    (Machine Learning 2007) with the curvature itself, as de Vilmarest and Wintenberger, "Stochastic
    Online Optimization Using Kalman Recursion" (JMLR 2021) analyse it; one for each memory, which
    fades curvature back to its start. The first prediction of all is the release's.
    """

    def __init__(
        self, task: Task, settings: Settings, warm: NDArray[np.bool_], arrays: _Arrays
    ) -> None:
        self._task, self._settings, self._warm, self._arrays = task, settings, warm, arrays
        self._fading = np.array([0.5 ** (1 / half) for half in settings.recent])
        self._forget = np.array([1 / memory for memory in settings.memories])

    @classmethod
    def start(cls, task: Task, settings: Settings, warm: NDArray[np.bool_]) -> Blend:
        """A blend of experts of which the `warm` ones, the release first, predict as it does."""
        experts, stackers = len(warm), len(settings.memories)
        ways = {"regression": 1, "binary": 2}.get(task.kind, task.classes)
        biases = 1 if ways == 1 else ways - 1 if ways <= MOST_BIASES else 0
        width = experts + len(settings.recent) + biases
        coefficients = np.zeros((stackers, width))
        coefficients[:, :experts] = warm / warm.sum()
        known = np.zeros((width, width))  # the release's slope and bias come from many rows
        known[:experts, :experts] = np.outer(warm, warm) if ways > 1 else 0.0
        known[width - biases :, width - biases :] = np.eye(biases)
        curvature = settings.prior * np.eye(width) + settings.calm * _LARGEST_VARIANCE * known
        arrays = _Arrays(
            shares=np.concatenate([warm, np.ones(stackers)]) / (warm.sum() + stackers),
            coefficients=coefficients,
            curvatures=np.tile(curvature, (stackers, 1, 1)),
            recents=np.full((len(settings.recent), ways), 1 / ways if ways > 1 else 0.0),
            numbers=np.zeros(NUMBERS),
        )
        arrays.numbers[RATE] = 0.0 if task.kind == "regression" else 1.0
        arrays.numbers[LOW], arrays.numbers[HIGH] = np.inf, -np.inf
        return cls(task, settings, warm, arrays)

    def predict(self, advice: Scores) -> Scores:
        """Blended predictions for `advice` (rows, experts) or (rows, experts, classes)."""
        arrays = self._arrays
        state = (arrays.shares, arrays.coefficients, arrays.recents, arrays.numbers)
        if self._task.kind == "regression":
            return kernels.predict_values(advice, self._warm, *state)
        mixed = kernels.predict_classes(self._logs(advice), self._warm, *state)
        return mixed[:, 1].copy() if self._task.kind == "binary" else mixed

    def learn(
        self, advice: Scores, labels: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> Scores:
        """`predict`, each row before its label is learned."""
        settings = self._settings
        rest = (self._fading, self._forget, settings.prior, settings.share or 0.0, settings.calm)
        if self._task.kind == "regression":
            return kernels.learn_values(advice, labels, weights, self._warm, *self._arrays, *rest)
        mixed = kernels.learn_classes(
            self._logs(advice), labels, weights, self._warm, *self._arrays, *rest
        )
        return mixed[:, 1].copy() if self._task.kind == "binary" else mixed

    def _logs(self, advice: Scores) -> Scores:
        """Log-probabilities (rows, experts, classes)."""
        if self._task.kind == "binary":
            advice = np.stack([1 - advice, advice], axis=2)
        return np.log(np.maximum(advice, kernels.LEAST))

    @property
    def shares(self) -> NDArray[np.float64]:
        """The weight of each expert, then of each stacker; they sum to 1."""
        return self._arrays.shares.copy()

    @property
    def arrays(self) -> _Arrays:
        """Everything learned, to read."""
        return self._arrays

    @property
    def warm(self) -> NDArray[np.bool_]:
        """Who started as the release did, the release first; the others sleep at first."""
        return self._warm

    @property
    def rate(self) -> float:
        """The rate of the exponential weights now."""
        return float(self._arrays.numbers[RATE])

    @property
    def gap(self) -> float:
        """The mixability gap accumulated: what the predictions lost against the mix."""
        return float(self._arrays.numbers[GAP])

    def moved(self) -> float:
        """How far the stackers' coefficients are from where they started, squared."""
        start = np.zeros(self._arrays.coefficients.shape[1])
        start[: len(self._warm)] = self._warm / self._warm.sum()
        return float(((self._arrays.coefficients - start) ** 2).sum())

    def clone(self) -> Blend:
        """A blend of its own with the same state."""
        return self._with(_Arrays(*(part.copy() for part in self._arrays)))

    def snapshot(self) -> bytes:
        """Everything learned; equal states give equal bytes."""
        return msgspec.msgpack.encode([part.astype("<f8").tobytes() for part in self._arrays])

    def restore(self, state: bytes) -> Blend:
        """The blend of this `snapshot()`. Raises ArtifactError for one of another shape."""
        try:
            saved = msgspec.msgpack.decode(state, type=list[bytes])
            parts = [
                np.frombuffer(data, "<f8").reshape(part.shape).copy()
                for data, part in zip(saved, self._arrays, strict=True)
            ]
        except (msgspec.DecodeError, ValueError) as error:
            raise ArtifactError(f"blend state: {error}") from error
        arrays = _Arrays(*parts)
        _check(arrays)
        if self._task.kind != "regression" and arrays.numbers[RATE] == 0:
            raise ArtifactError("blend state: found a rate of 0; allowed: up to 1")
        return self._with(arrays)

    def _with(self, arrays: _Arrays) -> Blend:
        return Blend(self._task, self._settings, self._warm, arrays)


def _check(arrays: _Arrays) -> None:
    """Refuse numbers that no learning leads to."""
    numbers = arrays.numbers[:LOW]
    finite = all(np.isfinite(part).all() for part in (*arrays[:4], numbers))
    if not finite or np.isnan(arrays.numbers).any() or (numbers < 0).any():
        raise ArtifactError("blend state: found numbers that are not finite or below 0")
    if (arrays.shares < 0).any() or abs(arrays.shares.sum() - 1) > 1e-6:
        raise ArtifactError("blend state: found weights that do not sum to 1")
    if not all((np.diagonal(part) > 0).all() for part in arrays.curvatures):
        raise ArtifactError("blend state: found a curvature that is not positive")
