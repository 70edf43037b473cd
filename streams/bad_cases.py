"""The declared bad-case rules that need a label, judged on many examples at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.plan import FeaturePlan
from tidemill.wire import BadCaseFound, Example, vectors


class BadCaseRules:
    """Which examples the model got wrong, and the reason's code."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._rules = [rule for rule in plan.project.bad_cases if rule.needs_label]
        self._names, self._schema = plan.schema.names, plan.schema.hash

    def judge(self, examples: Sequence[Example], now_ms: int) -> list[BadCaseFound]:
        """One bad case for each rule an example meets; other schemas' vectors are passed over."""
        examples = [e for e in examples if e.prediction.schema == self._schema]
        if not examples or not self._rules:
            return []
        matrix = vectors([example.prediction for example in examples])
        columns = {name: matrix[:, place] for place, name in enumerate(self._names)}
        columns["score"] = np.array([example.prediction.score for example in examples])
        columns["label"] = np.array([float(example.label) for example in examples])
        return [
            BadCaseFound(rule.reason, examples[row].prediction, examples[row].label, now_ms)
            for rule in self._rules
            for row in np.flatnonzero(rule.when.evaluate(columns, len(examples))).tolist()
        ]
