"""What the gate says: numbers, and every reason to refuse with what was found and is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.gate.bad_cases import NewBadCases, OnBadCases
from batch.gate.budgets import Costs
from batch.gate.calibration import Calibration
from batch.gate.paired import Interval
from batch.gate.slices import SliceResult
from learners.quality import auc, log_loss, rmse
from tidemill.tasks import BINARY, Task


class Reason(StrEnum):
    """Why a candidate is not published."""

    TOO_FEW_ROWS = "too_few_rows"
    SINGLE_CLASS = "single_class"
    NOT_FINITE = "not_finite"
    WORSE_LOG_LOSS = "worse_log_loss"
    WORSE_SQUARED_ERROR = "worse_squared_error"
    TOO_UNCERTAIN = "too_uncertain"
    WORSE_CALIBRATION = "worse_calibration"
    MISCALIBRATED = "miscalibrated"
    WORSE_SLICE = "worse_slice"
    MORE_BAD_CASES = "more_bad_cases"
    WORSE_ON_BAD_CASES = "worse_on_bad_cases"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason with what was found and what is allowed."""

    reason: Reason
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.reason}: found {self.found}; allowed: {self.allowed}"


@dataclass(frozen=True, slots=True)
class Quality:
    """How good scores were on the compared rows; None where it cannot be said.

    Probabilities have a log-loss and an AUC, values a mean squared error.
    """

    log_loss: float | None
    auc: float | None
    squared_error: float | None = None

    @classmethod
    def of(cls, rows: Dataset, scores: NDArray[np.float64], task: Task = BINARY) -> Quality:
        """Measure the scores of rows against their labels."""
        labels, weights = rows.labels, rows.weights
        if task.kind == "regression":
            error = rmse(labels, scores, weights)
            return cls(None, None, None if error is None else error**2)
        return cls(log_loss(labels, scores, weights), auc(labels, scores, weights))

    @property
    def loss(self) -> float | None:
        """What is compared: the log-loss, or the mean squared error."""
        return self.log_loss if self.squared_error is None else self.squared_error


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured on the compared rows; parts that were not judged are None or empty.

    `rival` says whom the candidate was compared with: a release, or `prior`, the share of label 1
    (the mean) before the holdout, where there is none. `difference` is its loss less the rival's;
    what noise would show with no more than `chance` counts as shown;
    `calibration_own` its expected calibration error and `calibration_excess` that less the rival's,
    noise taken off; `label_share` the rarer label's. `not_finite` counts scores that are no number:
    with any, only costs are measured.
    """

    candidate: Quality | None = None
    rival: str = ""
    rival_quality: Quality | None = None
    difference: Interval | None = None
    chance: float = 0.05
    calibration: Calibration | None = None
    rival_calibration: Calibration | None = None
    calibration_excess: Interval | None = None
    calibration_own: Interval | None = None
    label_share: float = 0.0
    slices: tuple[SliceResult, ...] = ()
    new_bad_cases: tuple[NewBadCases, ...] = ()
    on_bad_cases: tuple[OnBadCases, ...] = ()
    costs: Costs | None = None
    not_finite: int = 0


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate saw; an empty `refusals` means publish.

    The holdout lasts from `holdout_from_ms` up to before `holdout_to_ms`. `forced_by` names who had
    it published all the same.
    """

    rows: int
    training_rows: int
    holdout_rows: int
    compared_rows: int
    champion_release: str | None
    refusals: tuple[Refusal, ...]
    findings: Findings = Findings()
    holdout_from_ms: int = 0
    holdout_to_ms: int = 0
    forced_by: str = ""

    @property
    def passed(self) -> bool:
        """True when nothing speaks against publishing."""
        return not self.refusals

    @property
    def candidate(self) -> Quality | None:
        """How good the candidate was."""
        return self.findings.candidate

    @property
    def champion(self) -> Quality | None:
        """How good the champion was, None where there is none."""
        return self.findings.rival_quality if self.champion_release else None

    def metrics(self) -> dict[str, float]:
        """The numbers a release's manifest carries: no timings, so that equal runs have equal."""
        findings = self.findings
        numbers: dict[str, float] = {
            "gate_training_rows": self.training_rows,
            "gate_holdout_rows": self.holdout_rows,
            "gate_compared_rows": self.compared_rows,
        }
        rival = "champion" if self.champion_release else "prior"
        for role, quality in (("candidate", self.candidate), (rival, findings.rival_quality)):
            for name in ("log_loss", "auc", "squared_error"):
                value = getattr(quality, name, None)
                if value is not None:
                    numbers[f"gate_{role}_{name}"] = value
        if findings.calibration is not None:
            numbers["gate_candidate_calibration_error"] = findings.calibration.error
        if findings.costs is not None:
            numbers["gate_candidate_size_bytes"] = findings.costs.size_bytes
        return numbers

    def as_json(self) -> dict[str, Any]:
        """Everything, as what JSON can hold; the keys are the attributes' names."""
        found: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return {"passed": self.passed, **found}
