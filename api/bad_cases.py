"""Bad-case rules that need no label, judged on whole groups of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog

from api.measurements import Measurements
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.wire import BadCaseFound, Prediction, vectors

_LOG = structlog.get_logger()


class ScoringRules:
    """The declared rules that can be judged at scoring time already."""

    def __init__(self, project: Project, measurements: Measurements, clock: Clock) -> None:
        self._rules = [rule for rule in project.bad_cases if not rule.needs_label]
        names = project.feature_names
        used = frozenset[str]().union(*(rule.when.names() for rule in self._rules))
        self._columns = [(name, names.index(name)) for name in sorted(used - {"score"})]
        self._measurements, self._clock = measurements, clock

    def judge(self, predictions: Sequence[Prediction]) -> list[BadCaseFound]:
        """The bad cases among these predictions; a missing feature makes a comparison false."""
        if not self._rules:
            return []
        matrix = vectors(list(predictions)).astype(np.float64)
        columns = {name: matrix[:, place] for name, place in self._columns}
        columns["score"] = np.array([prediction.score for prediction in predictions])
        now_ms = self._clock.now_ms()
        found: list[BadCaseFound] = []
        for rule in self._rules:
            try:
                hits = np.flatnonzero(rule.when.evaluate(columns, len(predictions))).tolist()
            except Exception:  # A rule that fails must not keep predictions from the broker.
                _LOG.exception("bad_case_rule_failed", reason=rule.reason)
                continue
            self._measurements.bad_cases[rule.reason] += len(hits)
            found += [BadCaseFound(rule.reason, predictions[i], None, now_ms) for i in hits]
        return found
