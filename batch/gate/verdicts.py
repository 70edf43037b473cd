"""From what was measured to every reason to refuse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from batch.gate.champion import Champion
from batch.gate.report import Findings, Reason, Refusal
from batch.gate.split import Split
from tidemill.declaration import Project
from tidemill.gate import Gate
from tidemill.tasks import BINARY

_AND = ", and Gate.tolerance and harm"


def too_little(project: Project, split: Split, champion: Champion | None) -> list[Refusal]:
    """What is missing to learn or to judge."""
    gate, start, end = project.gate, _date(split.start_ms), _date(split.end_ms)
    holdout = f"the holdout of {gate.holdout} ({start} to {end})"
    before = (f"labelled before {holdout}", "archive or backfill more, or a shorter Gate.holdout")
    inside = (f"asked and labelled in {holdout}", "wait for labels, or a longer Gate.holdout")
    if champion is not None and split.holdout_rows >= gate.min_rows:
        known = (
            f"that champion {champion.release} was not trained on ({_date(champion.trained_to_ms)})"
        )
        inside = (f"{inside[0]} {known}", "wait until as many are labelled since")
    labels = split.newer.labels[split.compared(champion)]
    refusals = []
    for (part, cure), found in ((before, split.older.labels), (inside, labels)):
        if len(found) < gate.min_rows:
            allowed = f"{gate.min_rows} or more (Gate.min_rows): {cure}"
            refusals.append(Refusal(Reason.TOO_FEW_ROWS, f"{len(found)} rows {part}", allowed))
        elif project.task == BINARY and len(np.unique(found)) < 2:
            only = f"only label {found[0]:g} in the {len(found)} rows {part}"
            refusals.append(Refusal(Reason.SINGLE_CLASS, only, "both labels"))
    return refusals


def refusals(project: Project, findings: Findings) -> list[Refusal]:
    """Every reason, in a fixed order."""
    checks = (_finite, _loss, _calibration, _slices, _bad_cases, _costs)
    return [refusal for check in checks for refusal in check(project.gate, findings)]


def _finite(gate: Gate, found: Findings) -> Iterator[Refusal]:
    if found.not_finite:
        yield Refusal(Reason.NOT_FINITE, f"{found.not_finite} scores that are no number", "none")


def _loss(gate: Gate, found: Findings) -> Iterator[Refusal]:
    rival, ours, apart = found.rival_quality, found.candidate, found.difference
    if rival is None or ours is None or rival.loss is None or ours.loss is None or apart is None:
        return
    limit = gate.tolerance * rival.loss
    values = ours.squared_error is not None
    whose = f"{_named(found)} {rival.loss:.6f}"
    if apart.above(limit):
        reason = Reason.WORSE_SQUARED_ERROR if values else Reason.WORSE_LOG_LOSS
        range_ = f"{ours.loss:.6f}, {apart.low:.6f} or more above {whose}"
        yield Refusal(reason, range_, f"{limit:.6f} above it (Gate.tolerance)")
    elif apart.may_be_above(limit + gate.harm * rival.loss):
        most = "any amount" if apart.high is None else f"up to {apart.high:.6f}"
        range_ = f"{ours.loss:.6f}, which may be {most} above {whose}"
        allowed = f"{limit + gate.harm * rival.loss:.6f} above it (Gate.harm): more examples"
        yield Refusal(Reason.TOO_UNCERTAIN, range_, allowed)


def _calibration(gate: Gate, found: Findings) -> Iterator[Refusal]:
    ours, theirs = found.calibration, found.rival_calibration
    excess, own = found.calibration_excess, found.calibration_own
    if ours is None or theirs is None or excess is None or own is None:
        return
    shown = f"an expected calibration error of {ours.error:.4f}"
    if ours.slope is not None:
        shown += f" (log-odds want a factor of {ours.slope:.2f} and {ours.intercept:+.2f})"
    if gate.calibration is not None and excess.above(gate.calibration * found.label_share):
        yield Refusal(
            Reason.WORSE_CALIBRATION,
            f"{shown}, {excess.low:.4f} or more above {_named(found)} {theirs.error:.4f}",
            f"{gate.calibration * found.label_share:.4f} above it (Gate.calibration of the rarer "
            "label's share)",
        )
    if gate.calibration_error is not None and own.above(gate.calibration_error):
        allowed = f"{gate.calibration_error:g} (Gate.calibration_error)"
        yield Refusal(Reason.MISCALIBRATED, f"{shown}, {own.low:.4f} or more of it", allowed)


def _slices(gate: Gate, found: Findings) -> Iterator[Refusal]:
    for each in found.slices:
        if each.chance <= found.chance:
            yield Refusal(
                Reason.WORSE_SLICE,
                f"{each.candidate:.6f} on the {each.rows} rows of {each.field} = {each.value} "
                f"(by chance: {each.chance:.2g})",
                f"{each.rival * (1 + gate.allowed):.6f} ({_named(found)}{_AND})",
            )


def _bad_cases(gate: Gate, found: Findings) -> Iterator[Refusal]:
    for case in found.new_bad_cases:
        if case.chance <= found.chance:
            yield Refusal(
                Reason.MORE_BAD_CASES,
                f"{case.candidate} cases of {case.reason}, {case.caused} of them new (by chance: "
                f"{case.chance:.2g})",
                f"{case.rival * (1 + gate.bad_cases):g} ({_named(found)}, and Gate.bad_cases)",
            )
    for on in found.on_bad_cases:
        if on.difference.mean > 0 and on.difference.above(0):
            yield Refusal(
                Reason.WORSE_ON_BAD_CASES,
                f"{on.candidate:.6f} on the {on.rows} {on.kind} bad cases",
                f"{on.rival * (1 + gate.allowed):.6f} ({_named(found)}{_AND})",
            )


def _costs(gate: Gate, found: Findings) -> Iterator[Refusal]:
    costs = found.costs
    if costs is None:
        return
    if gate.latency_us is not None and costs.single_p99_us > gate.latency_us:
        found_us = f"{costs.single_p99_us:.1f} us for one answer (99th percentile)"
        yield Refusal(Reason.TOO_SLOW, found_us, f"{gate.latency_us:g} (Gate.latency_us)")
    if gate.size_bytes is not None and costs.size_bytes > gate.size_bytes:
        allowed = f"{gate.size_bytes} (Gate.size_bytes)"
        yield Refusal(Reason.TOO_LARGE, f"{costs.size_bytes} bytes", allowed)


def _named(found: Findings) -> str:
    return "the prior's" if found.rival == "prior" else f"champion {found.rival}'s"


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
