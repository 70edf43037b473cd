"""How service and frozen release do on the newest examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from learners.quality import auc, log_loss

_ROLES = ("service", "release")


class SlidingMetrics:
    """AUC and log-loss of service and frozen release over the newest `window` examples."""

    def __init__(self, window: int = 5000) -> None:
        self._rows = np.empty((window, 3))  # score, baseline, label
        self._seen = 0

    def add(self, scores: ArrayLike, baselines: ArrayLike, labels: ArrayLike) -> None:
        """Take in examples in their order; the three are of one length."""
        window = len(self._rows)
        rows = np.column_stack([scores, baselines, labels])
        places = (self._seen + np.arange(len(rows))) % window
        self._rows[places[-window:]] = rows[-window:]
        self._seen += len(rows)

    def summary(self) -> dict[str, dict[str, float | None]]:
        """`{"auc": {"service", "release"}, "log_loss": {...}}`, None until both labels came."""
        rows = self._rows[: min(self._seen, len(self._rows))]
        labels = rows[:, 2]
        both = 0 < labels.sum() < len(labels)
        return {
            name: {
                role: measure(labels, rows[:, i]) if both else None for i, role in enumerate(_ROLES)
            }
            for name, measure in (("auc", auc), ("log_loss", log_loss))
        }
