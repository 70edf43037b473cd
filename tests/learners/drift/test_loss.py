"""River's detectors raise no alarm without a shift, and one soon after a real one."""

from __future__ import annotations

import numpy as np
import pytest

from learners.drift.loss import LossWatch
from learners.quality.measures import log_losses
from tidemill.drift import DETECTORS, Drift


def losses(rng: np.random.Generator, rows: int, flipped: float = 0.0) -> np.ndarray:
    """Log-losses of calibrated scores, of which a share has the other label."""
    scores = 1 / (1 + np.exp(-rng.normal(-1.2, 1, rows)))
    labels = (rng.random(rows) < scores) ^ (rng.random(rows) < flipped)
    return log_losses(labels, scores)


def alarms(watch: LossWatch, values: np.ndarray) -> list[int]:
    """After how many values the watch was found to say that losses have risen."""
    found, standing = [], watch.rise is not None
    for start in range(0, len(values), 32):
        some = values[start : start + 32]
        watch.add(some, np.ones(len(some)))
        if watch.rise is not None and not standing:
            found.append(start + len(some))
        standing = watch.rise is not None
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_alarm_without_a_shift(seed: int) -> None:
    """All detectors together, over 100 000 examples each time, without a least rise."""
    watch = LossWatch(Drift(loss_limit=0.0))
    assert [] == alarms(watch, losses(np.random.default_rng(seed), 100_000))


@pytest.mark.parametrize(
    ("detector", "within"), [("adwin", 1000), ("page_hinkley", 1000), ("kswin", 3000)]
)
def test_each_detector_finds_a_shift(detector: str, within: int) -> None:
    """Three labels in ten turned round are found within so many examples."""
    rng = np.random.default_rng(4)
    watch = LossWatch(Drift(detectors=(detector,)))
    assert [] == alarms(watch, losses(rng, 20_000))
    (found,) = alarms(watch, losses(rng, within, flipped=0.3))
    assert found <= within
    assert watch.rise is not None
    assert (detector,) == watch.rise.detectors
    assert 0.51 == pytest.approx(watch.rise.before, abs=0.03)
    assert watch.rise.after > 0.56


def test_what_gets_better_is_no_alarm() -> None:
    """The detectors look both ways; only a rise counts."""
    rng = np.random.default_rng(5)
    watch = LossWatch(Drift())
    alarms(watch, losses(rng, 20_000, flipped=0.3))
    assert [] == alarms(watch, losses(rng, 20_000))


def test_a_rise_is_over_when_the_loss_is_back() -> None:
    """Half way back counts, and the next rise is found again."""
    rng = np.random.default_rng(6)
    watch = LossWatch(Drift())
    alarms(watch, losses(rng, 20_000))
    assert 1 == len(alarms(watch, losses(rng, 3_000, flipped=0.3)))
    assert [] == alarms(watch, losses(rng, 20_000))
    assert watch.rise is None
    assert 1 == len(alarms(watch, losses(rng, 3_000, flipped=0.3)))


def test_cuts_do_not_matter() -> None:
    """Blocks are counted by examples, so micro-batches of any size give one alarm at one place."""
    rng = np.random.default_rng(7)
    values = np.concatenate([losses(rng, 20_000), losses(rng, 5_000, flipped=0.3)])
    risen = []
    for batch in (1, 50, 997):
        watch = LossWatch(Drift())
        for start in range(0, len(values), batch):
            some = values[start : start + batch]
            watch.add(some, np.ones(len(some)))
        risen.append(watch.rise)
    assert risen[0] is not None
    assert risen[0] == risen[1] == risen[2]
    assert DETECTORS == Drift().detectors
