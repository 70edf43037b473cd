"""What a trial says of itself: its report as JSON, and the names of its alerts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from streams.learning import Learning
from streams.trials.comparison import Arm, Comparison, Roster
from streams.trials.pair import GAIN, LOSS, Pair, contrast
from tidemill.roles import Action
from tidemill.trial import Trial
from tidemill.trial_report import ArmReport, TrialReport

ALERTS_OF: Mapping[Action, str] = {
    "promoted": "challenger_promoted",
    "rolled_back": "champion_rolled_back",
    "challenger": "challenger_silenced",
    "retired": "challenger_retired",
}
"""The alert that goes with each change of roles."""


def report(
    comparison: Comparison, roster: Roster, limits: Trial, learners: Mapping[str, Learning]
) -> bytes:
    """The document (JSON, `TrialReport`)."""
    arms = [_arm(comparison, arm, learners.get(arm.release)) for arm in roster.arms]
    return msgspec.json.encode(
        TrialReport(
            roster.champion, comparison.clock_ms or None, limits.block_ms, limits.alpha,
            limits.min_blocks, limits.min_rows, arms,
        )
    )  # fmt: skip


def _arm(comparison: Comparison, arm: Arm, learning: Learning | None) -> ArmReport:
    pair = comparison.pairs.get(arm.release) or comparison.empty(arm.release)
    found = pair.interval(contrast(gain=1), comparison.alpha(), comparison.best)
    known = pair.sums.blocks > 0
    newest, champion, own = pair.measures()
    loss = _mean(pair, LOSS)
    return ArmReport(
        release=arm.release,
        role="watched" if arm.watched else "challenger",
        share=arm.share,
        answered=pair.counts.answered,
        failed=pair.counts.failed,
        examples=pair.counts.rows,
        blocks=pair.sums.blocks,
        left_out=pair.counts.left_out,
        since_ms=pair.since_ms or None,
        until_ms=pair.until_ms or None,
        loss=loss - _mean(pair, GAIN) if known else None,
        champion_loss=loss if known else None,
        difference=found.mean if known else None,
        low=found.low if math.isfinite(found.low) else None,
        high=found.high if math.isfinite(found.high) else None,
        newest=newest,
        measures=own,
        champion_measures=champion,
        behind=max(comparison.offset - learning.offset, 0) if learning else 0,
        waiting=comparison.missing(arm),
    )


def _mean(pair: Pair, column: int) -> float:
    weight = float(pair.sums.total[0])
    return float(pair.sums.total[column]) / weight if weight > 0 else 0.0
