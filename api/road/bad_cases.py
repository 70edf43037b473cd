"""Bad-case rules that need no label, judged on whole groups of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog

from api.measuring.measurements import Measurements
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.wire import BadCaseFound, Prediction, vectors

_KEPT_SCHEMAS = 2
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
                _LOG.exception("bad_case_rule_failed", reason=rule.reason,
                               prediction_id=predictions[0].id)  # fmt: skip
                continue
            self._measurements.bad_cases[rule.reason] += len(hits)
            found += [BadCaseFound(rule.reason, predictions[i], None, now_ms) for i in hits]
        return found


class RulesBySchema:
    """Judges each prediction by the rules of the declaration it was made under.

    Behind an exchange, predictions of the old declaration are still on their way.
    """

    def __init__(self) -> None:
        self._rules: dict[str, ScoringRules] = {}

    def add(self, schema: str, rules: ScoringRules) -> None:
        """Judge predictions of this schema from now on; the oldest schema is forgotten."""
        self._rules = {**self._rules, schema: rules}
        while len(self._rules) > _KEPT_SCHEMAS:
            del self._rules[next(iter(self._rules))]

    def judge(self, predictions: Sequence[Prediction]) -> list[BadCaseFound]:
        """The bad cases among these predictions."""
        found: list[BadCaseFound] = []
        for schema in dict.fromkeys(prediction.schema for prediction in predictions):
            if (rules := self._rules.get(schema)) is not None:
                found += rules.judge([p for p in predictions if p.schema == schema])
        return found
