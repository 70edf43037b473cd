"""Sliding metrics are those of the newest examples, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest

from learners.progress import SlidingMetrics
from learners.quality import auc, log_loss


def test_nothing_until_both_classes_were_seen() -> None:
    """One class alone gives None for every measure."""
    sliding = SlidingMetrics(10)
    nothing = {"service": None, "release": None}
    assert {"auc": nothing, "log_loss": nothing} == sliding.summary()
    sliding.add([0.5], [0.5], [1])
    assert {"auc": nothing, "log_loss": nothing} == sliding.summary()


@pytest.mark.parametrize("batch", [1, 7, 30, 100])
def test_only_the_newest_count(batch: int) -> None:
    """The summary equals the measures of the last `window` rows."""
    rng = np.random.default_rng(1)
    scores, baselines, labels = rng.random(100), rng.random(100), rng.integers(0, 2, 100)
    sliding = SlidingMetrics(30)
    for start in range(0, 100, batch):
        rows = slice(start, start + batch)
        sliding.add(scores[rows], baselines[rows], labels[rows])
    newest = labels[-30:]
    expected = {
        "auc": {"service": auc(newest, scores[-30:]), "release": auc(newest, baselines[-30:])},
        "log_loss": {
            "service": log_loss(newest, scores[-30:]),
            "release": log_loss(newest, baselines[-30:]),
        },
    }
    found = sliding.summary()
    for name, roles in expected.items():
        assert pytest.approx(roles) == found[name]
