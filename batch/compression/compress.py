"""Tries a declaration's methods on a model until it is small enough, and takes the best result.

    done = compress(model, rows, checked, tm.Compression(), project)

Every candidate is read back as it would be served, and judged by the task's loss on `checked` rows
(log-loss; a regression's mean squared error). Among those that reach the targets within the loss
allowed the one with the least loss is taken. The same input gives the same bytes; only where a
latency in microseconds is a target does a stopwatch take part in the choice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batch.compression.family import Material
from batch.compression.judge import FAMILIES, NONE, Judge, Measured
from batch.compression.latency import Timer
from batch.progress import Progress, Silent
from batch.trainers.trainer import TrainingRows
from learners.release import ModelFile
from tidemill.compression import Compression
from tidemill.declaration import Project
from tidemill.errors import GateRefused

_CHEAP = 0.1  # share of the loss allowed under which no other method is tried


@dataclass(frozen=True, slots=True)
class Compressed:
    """The model to serve, and what its compression brought and cost."""

    model: ModelFile
    report: dict[str, Any]


def compress(  # noqa: PLR0913  what it works on, then what a caller may choose
    model: ModelFile,
    rows: TrainingRows,
    checked: TrainingRows,
    settings: Compression,
    project: Project,
    *,
    timer: Timer = time.perf_counter,
    threads: int = 0,
    progress: Progress | None = None,
) -> Compressed:
    """The model made smaller: fitted on `rows`, judged on `checked`, which it has not learned.

    `threads` 0 means all cores. Raises GateRefused where targets are required and not reached,
    ValueError without checked rows.
    """
    if not len(checked):
        raise ValueError("checked: found no rows; allowed: one or more")
    judge = Judge(checked, settings, project, timer)
    base = judge.base(model)
    tried = list(_tried(judge, Material(model, rows, threads), base, progress or Silent()))
    chosen, reached = judge.best([base, *tried])
    report = judge.report(base, chosen, reached, tried)
    if settings.required and not reached:
        raise GateRefused((_missed(report, settings),))
    return Compressed(chosen.model, report)


def compressed_alike(
    model: ModelFile, rows: TrainingRows, report: Mapping[str, Any], threads: int = 0
) -> ModelFile:
    """Another model of the same kind made smaller in the way that a report of `compress` tells.

    For a model trained on all rows: none are left to choose on. Fitted on `rows`.
    """
    family = FAMILIES.get(model.name)
    if family is None or report["method"] == NONE:
        return model
    method, keep, variant = report["method"], report["keep"], int(report["variant"])
    return family(Material(model, rows, threads)).variants(method, keep)[variant]


def _tried(
    judge: Judge, material: Material, base: Measured, progress: Progress
) -> Iterator[Measured]:
    """Each method from mild to strong until the targets are reached or the loss is too large."""
    make = FAMILIES.get(material.model.name)
    if make is None or judge.reaches(base, base):
        return
    methods = [name for name in make.strengths if name in judge.settings.methods]
    family = make(material)
    progress.start("compress", len(methods))
    for method in methods:
        for keep in make.strengths[method]:
            variants = family.variants(method, keep)
            measured = [
                replace(judge.measured(model, method, keep, base), variant=at)
                for at, model in enumerate(variants)
            ]
            found = min(measured, key=lambda one: (one.metric, one.model.data))
            yield found
            if not found.loss <= judge.settings.loss:
                break
            if judge.reaches(found, base):
                if found.loss <= _CHEAP * judge.settings.loss:
                    return
                break
        progress.advance()


def _missed(report: dict[str, Any], settings: Compression) -> str:
    wanted = {
        "smaller": settings.smaller, "faster": settings.faster,
        "most_bytes": settings.most_bytes, "most_microseconds": settings.most_microseconds,
    }  # fmt: skip
    allowed = ", ".join(f"{name} {value:g}" for name, value in wanted.items() if value is not None)
    faster = report["operations_before"] / max(report["operations_after"], 1e-9)
    return (
        f"compression: found {report['bytes_after']} bytes ({report['smaller']:.2f} times smaller, "
        f"{faster:.2f} times fewer operations, {report['single_row_microseconds_after']:.1f} "
        f"microseconds a row) within a loss of {settings.loss:g}; allowed: {allowed}"
    )
