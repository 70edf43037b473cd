"""Judges what a learner is fed and does, window by window: the state behind a declared Breaker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidemill.breaker import Breaker
from tidemill.errors import ArtifactError
from tidemill.tasks import Task

USUAL_WINDOWS = 5  # until so many were judged nothing is usual, and nothing is compared with it
REMEMBERED = 0.9  # how much of what was usual remains so after another window
# Of fewer nothing is said: on eight months of flights fifty examples of one airport in a storm
# looked like lies twice, a hundred never did.
PRODUCER_EXAMPLES = 100
# A difference counts only when chance alone would hardly bring it about: in standard errors.
STANDARD_ERRORS = 4.0


@dataclass(frozen=True, slots=True)
class Trip:
    """A limit that was passed: which, what was found, what is allowed, and by whose labels."""

    reason: str
    found: str
    allowed: str
    producer: str = ""

    def __str__(self) -> str:
        whose = f" (producer {self.producer})" if self.producer else ""
        return f"{self.reason}{whose}: found {self.found}; allowed: {self.allowed}"


class _Producer(msgspec.Struct, array_like=True):
    """One producer's labels in the window: their number, and sums of the loss and its square."""

    examples: int = 0
    loss: float = 0.0
    squares: float = 0.0


class _State(msgspec.Struct, array_like=True):
    """Sums over the window so far, and what was usual in those before."""

    examples: int = 0
    labels: float = 0.0
    squares: float = 0.0  # of the labels
    scores: float = 0.0
    finite: bool = True
    norm: float = 0.0  # the learner's update norm when the window began
    producers: dict[str, _Producer] = {}
    windows: int = 0
    usual_label: float = 0.0
    usual_square: float = 0.0
    usual_move: float = 0.0


_DECODER = msgspec.msgpack.Decoder(_State)


class Guard:
    """A function of the examples alone, so that a replay trips where the first run did.

    Windows are counted in examples. Scores are those that were answered: what the learner itself
    predicts is looked at for being finite only, and its weights for how far they moved.
    """

    def __init__(self, limits: Breaker, task: Task) -> None:
        self._limits, self._binary = limits, task.kind == "binary"
        self._state = _State()

    @property
    def room(self) -> int:
        """How many examples there are to the end of the window."""
        return self._limits.window - self._state.examples

    def encode(self) -> bytes:
        """The state as bytes; equal states give equal bytes."""
        ordered = dict(sorted(self._state.producers.items()))
        return msgspec.msgpack.encode(msgspec.structs.replace(self._state, producers=ordered))

    def restore(self, data: bytes) -> None:
        """Go on from an encoded state; without any from the start. Raises ArtifactError."""
        try:
            self._state = _DECODER.decode(data) if data else _State()
        except (msgspec.DecodeError, ValueError) as error:
            raise ArtifactError(f"guard state: {error}") from error

    def clone(self) -> Guard:
        """A guard of its own with the same state."""
        copy = Guard.__new__(Guard)
        copy._limits, copy._binary = self._limits, self._binary
        copy.restore(self.encode())
        return copy

    def begin(self, norm: float) -> None:
        """Begin a window, keeping what is usual; `norm` is the learner's update norm now."""
        state = self._state
        state.examples, state.labels, state.squares, state.scores = 0, 0.0, 0.0, 0.0
        state.finite, state.norm, state.producers = True, norm, {}

    def add(
        self,
        labels: NDArray[np.float64],
        answered: NDArray[np.float64],
        predicted: NDArray[np.float64],
        producers: Sequence[str],
    ) -> None:
        """Take in at most `room` examples in their order, with what the learner predicted."""
        state = self._state
        state.examples += len(labels)
        # One by one: the sums must not depend on how examples are cut into calls.
        losses = self._losses(labels, answered).tolist()
        for label, score, loss, who in zip(
            labels.tolist(), answered.tolist(), losses, producers, strict=True
        ):
            state.labels += label
            state.squares += label * label
            state.scores += score
            found = state.producers.get(who)
            if found is None:
                found = state.producers[who] = _Producer()
            found.examples += 1
            found.loss += loss
            found.squares += loss * loss
        state.finite = state.finite and bool(np.isfinite(predicted).all())

    def judge(self, norm: float) -> Trip | None:
        """What speaks against this window, worst first; None begins the next one."""
        trip = (
            self._not_finite(norm) or self._producer_loss() or self._producer_share()
            or self._label_shift() or self._calibration() or self._update_norm(norm)
        )  # fmt: skip
        if trip is None:
            self._remember(norm)
            self.begin(norm)
        return trip

    def _losses(
        self, labels: NDArray[np.float64], answered: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        if self._binary:
            right = np.where(labels == 1, answered, 1 - answered)
            return -np.log(np.maximum(right, 1e-15))
        return np.asarray((labels - answered) ** 2, np.float64)

    @property
    def _spread(self) -> float:
        """What label shift and calibration are measured in."""
        state = self._state
        if self._binary or not state.windows:
            return 1.0
        return math.sqrt(max(state.usual_square - state.usual_label**2, 0.0)) or 1.0

    def _not_finite(self, norm: float) -> Trip | None:
        if self._state.finite and math.isfinite(norm):
            return None
        return Trip("not_finite", "predictions or weights that are no number", "finite ones")

    def _producer_loss(self) -> Trip | None:
        """The producer whose labels fit what was answered far worse than everybody else's do."""
        everybody = self._state.producers.values()
        unit = 1.0 if self._binary else self._spread**2
        examples = sum(each.examples for each in everybody)
        loss, squares = (sum(getattr(p, n) for p in everybody) for n in ("loss", "squares"))
        worst: Trip | None = None
        most = self._limits.producer_loss
        for name, own in self._state.producers.items():
            rest = examples - own.examples
            if not name or own.examples < PRODUCER_EXAMPLES or rest < PRODUCER_EXAMPLES:
                continue
            others = _Producer(rest, loss - own.loss, squares - own.squares)
            excess = (own.loss / own.examples - others.loss / rest) / unit
            error = math.sqrt(_variance_of_mean(own) + _variance_of_mean(others)) / unit
            if excess > most and excess > STANDARD_ERRORS * error:
                most = excess
                found = f"a mean loss {excess:.3f} above all others' over {own.examples} examples"
                allowed = f"at most {self._limits.producer_loss:g} above"
                worst = Trip("producer_loss", found, allowed, name)
        return worst

    def _producer_share(self) -> Trip | None:
        limit, examples = self._limits.producer_share, self._state.examples
        for name, own in sorted(self._state.producers.items()):
            if name and own.examples > limit * examples:
                found = f"{own.examples} of {examples} examples"
                return Trip("producer_share", found, f"at most {limit:.0%}", name)
        return None

    def _label_shift(self) -> Trip | None:
        state, limit = self._state, self._limits.label_shift
        if state.windows < USUAL_WINDOWS:
            return None
        mean = state.labels / state.examples
        if abs(mean - state.usual_label) <= limit * self._spread:
            return None
        allowed = f"within {limit * self._spread:.4g} of the usual {state.usual_label:.4g}"
        return Trip("label_shift", f"a mean label of {mean:.4g}", allowed)

    def _calibration(self) -> Trip | None:
        state, limit = self._state, self._limits.calibration * self._spread
        if not self._binary and state.windows < USUAL_WINDOWS:  # in units not known yet
            return None
        label, score = state.labels / state.examples, state.scores / state.examples
        if abs(label - score) <= limit:
            return None
        found = f"a mean label of {label:.4g} where {score:.4g} was answered"
        return Trip("calibration", found, f"a difference of at most {limit:.4g}")

    def _update_norm(self, norm: float) -> Trip | None:
        state, limit = self._state, self._limits.update_norm
        moved = abs(norm - state.norm)
        if state.windows < USUAL_WINDOWS or moved <= limit * state.usual_move:
            return None
        found = f"weights that moved by {moved:.4g}"
        return Trip("update_norm", found, f"{limit:g} times the usual {state.usual_move:.4g}")

    def _remember(self, norm: float) -> None:
        state = self._state
        kept = min(REMEMBERED, state.windows / (state.windows + 1))
        mean, square = state.labels / state.examples, state.squares / state.examples
        moved = abs(norm - state.norm)
        state.usual_label = kept * state.usual_label + (1 - kept) * mean
        state.usual_square = kept * state.usual_square + (1 - kept) * square
        state.usual_move = kept * state.usual_move + (1 - kept) * moved
        state.windows += 1


def _variance_of_mean(found: _Producer) -> float:
    mean = found.loss / found.examples
    return max(found.squares / found.examples - mean * mean, 0.0) / found.examples
