"""What one would have shipped when: the test log-loss of a search's incumbents over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.streams.bootstrap import Floats, log_losses

SHARES = (1 / 60, 1 / 30, 1 / 15, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Of the budget: when the curves are looked at."""


@dataclass(frozen=True)
class Curve:
    """From each of `seconds` on, `losses` is the test log-loss of what was best by then.

    `scores` and `settings` are the last one's, `refit_seconds` what training it on all rows took
    after the `search_seconds`.
    """

    seconds: Sequence[float]
    losses: Sequence[float]
    scores: Floats
    refit_seconds: float
    search_seconds: float
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> float:
        """The test log-loss of what the search ended with."""
        return self.losses[-1]

    def at(self, seconds: float) -> float:
        """The test log-loss if the search had ended then; NaN before the first incumbent."""
        place = int(np.searchsorted(self.seconds, seconds, side="right"))
        return self.losses[place - 1] if place else float("nan")

    def reached(self, loss: float) -> float | None:
        """When it came to this loss and was never above it again; None: it never did."""
        since = None
        for seconds, found in zip(self.seconds, self.losses, strict=True):
            if found > loss:
                since = None
            elif since is None:
                since = seconds
        return since


class WrongAnswers(Exception):
    """A tuner scored other rows than it was given, or not all of them with a probability."""


def read_curve(told: Path, scores: Path, labels: Floats, digest: str) -> Curve:
    """What a tuner handed back. Raises WrongAnswers."""
    found = json.loads(told.read_text(encoding="utf-8"))
    answers: Floats = np.load(scores)
    if found["digest"] != digest:
        raise WrongAnswers("it read other rows than it was given")
    if not found["incumbents"]:
        raise WrongAnswers("it found nothing in its time")
    if answers.shape != (len(found["incumbents"]), len(labels)):
        raise WrongAnswers(f"found scores {answers.shape}; allowed: one for each test row")
    if not ((answers >= 0) & (answers <= 1)).all():
        raise WrongAnswers("found a score that is no probability")
    return Curve(
        [each["seconds"] for each in found["incumbents"]],
        [float(log_losses(labels, each).mean()) for each in answers],
        answers[-1],
        found["incumbents"][-1]["refit_seconds"],
        found["seconds"],
        found["incumbents"][-1]["settings"],
    )
