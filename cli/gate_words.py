"""What the gate found, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from batch.gate.paired import Interval
    from batch.gate.report import Findings, GateReport

Row = tuple[str, str, str, str]
MOST_SLICES = 20  # of more, those with the smallest chances


def show(report: GateReport) -> None:
    """Print what was compared, with whom, and every reason to refuse."""
    console = Console(highlight=False)
    begins, ends = (_date(each) for each in (report.holdout_from_ms, report.holdout_to_ms))
    console.print(
        f"{'passed' if report.passed else 'refused'}: {report.compared_rows} of "
        f"{report.holdout_rows} examples of the holdout compared, {begins} to {ends}; "
        f"{report.training_rows} before it"
    )
    if report.findings.candidate is not None:
        table = Table("", "candidate", report.findings.rival, "difference", box=None)
        for row in _rows(report.findings):
            table.add_row(*row)
        console.print(table)
    for refusal in report.refusals:
        console.print(f"refused: {refusal}", markup=False, soft_wrap=True)
    if report.forced_by:
        console.print(f"published all the same for {report.forced_by}", markup=False)


def _rows(found: Findings) -> Iterator[Row]:
    yield from _quality(found)
    yield from _calibration(found)
    shown = sorted(found.slices, key=lambda each: each.chance)[:MOST_SLICES]
    for each in shown:
        name = f"{each.field} = {each.value} ({each.rows})"
        yield name, _number(each.candidate), _number(each.rival), f"chance {each.chance:.2g}"
    for case in found.new_bad_cases:
        change = f"{case.caused} new, {case.cured} gone, chance {case.chance:.2g}"
        yield f"cases of {case.reason}", str(case.candidate), str(case.rival), change
    for on in found.on_bad_cases:
        name = f"on {on.kind} bad cases ({on.rows})"
        yield name, _number(on.candidate), _number(on.rival), ""
    if found.costs is not None:
        costs = found.costs
        yield "one answer, us (p50)", f"{costs.single_p50_us:.1f}", "", ""
        yield "one answer, us (p99)", f"{costs.single_p99_us:.1f}", "", ""
        yield "a row of many, us", f"{costs.batch_row_us:.2f}", "", ""
        yield "bytes", str(costs.size_bytes), "", ""


def _quality(found: Findings) -> Iterator[Row]:
    ours, theirs = found.candidate, found.rival_quality
    for name in ("log_loss", "squared_error", "auc"):
        value, rival = getattr(ours, name), getattr(theirs, name)
        if value is not None:
            apart = _range(found.difference) if name != "auc" else ""
            yield name.replace("_", " "), _number(value), _number(rival), apart


def _calibration(found: Findings) -> Iterator[Row]:
    ours, theirs = found.calibration, found.rival_calibration
    if ours is None or theirs is None:
        return
    yield (
        "calibration error",
        _number(ours.error),
        _number(theirs.error),
        _range(found.calibration_excess),
    )
    for name in ("in_the_large", "slope", "intercept", "z"):
        values = [_number(getattr(each, name)) for each in (ours, theirs)]
        yield f"  {name.replace('_', ' ')}", values[0], values[1], ""


def _range(interval: Interval | None) -> str:
    if interval is None:
        return ""
    low, high = _number(interval.low), _number(interval.high)
    return f"{interval.mean:+.5f} ({low} to {high})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
