"""The demo's report, from the archive and the service's own counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from batch.baselines import score_release, static_baseline
from batch.datasets.dataset import Dataset, extract
from batch.training_set import TrainingSet
from cli.demo.progress import Progress
from features.archive.files import read_archive
from features.plan import compile_plan
from learners.quality import auc, log_loss
from tidemill.declaration import Project
from tidemill.registry import Registry
from tidemill.topics import PREDICTIONS

ROLES = ("static", "release", "service")


@dataclass(frozen=True)
class Machine:
    """What the run says of its processes: peak memory in MB and exit codes, by name."""

    rss_mb: Mapping[str, float]
    exit_codes: Mapping[str, int]


def build_report(
    project: Project, home: Path, progress: Progress, machine: Machine
) -> dict[str, Any]:
    """Everything `--json` writes; quality is of live examples, the frozen release is the first."""
    worker, api = progress.status.get("worker", {}), progress.status.get("api", {})
    counts = worker.get("counts", {})
    quality = _quality(project, home)
    return {
        "failed_requests": progress.failed,
        "events_read": counts.get("events_read", 0),
        "events_applied": counts.get("events_applied", 0),
        "dead_letters": counts.get("dead_letters", 0),
        "predictions": counts.get("predictions", 0),
        "labels_joined": counts.get("labels_joined", 0),
        "examples": counts.get("examples", 0),
        **_versions(project, home),
        "auc": quality["all"]["auc"],
        "log_loss": quality["all"]["log_loss"],
        "latency_ms": progress.latency_ms(),
        "label_to_weights_ms": api.get("label_to_weights_ms"),
        "scores_per_second": round(progress.per_second, 1),
        "rss_mb": dict(machine.rss_mb),
        "months": {name: found for name, found in quality.items() if name != "all"},
        "events_sent": progress.events_sent,
        "labels_sent": progress.labels_sent,
        "scored": progress.scored,
        "repeated_requests": progress.repeated,
        "failures": progress.failures,
        "bad_cases": counts.get("bad_cases", 0),
        "scores_per_second_overall": round(
            progress.scored / max(progress.seconds_overall, 1e-9), 1
        ),
        "barrier_seconds": round(progress.barrier_seconds, 1),
        "phase_seconds": {phase.name: phase.seconds for phase in progress.phases},
        "retrains": [asdict(retrain) for retrain in progress.retrains],
        "exit_codes": dict(machine.exit_codes),
    }


def _versions(project: Project, home: Path) -> dict[str, int]:
    """How many releases and snapshots have answered, from the logged predictions."""
    table = read_archive(home, project.name, PREDICTIONS)
    pairs = set(zip(table["release"].to_pylist(), table["snapshot"].to_pylist(), strict=True))
    return {
        "releases_served": len({release for release, _ in pairs}),
        "snapshots_served": len({pair for pair in pairs if pair[1] > 0}),
    }


def _quality(project: Project, home: Path) -> dict[str, dict[str, Any]]:
    """AUC and log-loss of every role, over all live examples and per month."""
    data = extract(TrainingSet(home, compile_plan(project))).data
    live = data.take(data.live)
    scores = {
        # One thread: from others LightGBM warns on the console, whatever it is told.
        "static": static_baseline(project, data.take(~data.live), live.vectors, threads=1),
        "release": score_release(Registry(home, project.name), "r0001", project, live.vectors),
        "service": live.scores,
    }
    spans = {"all": np.ones(len(live), bool)} | _months(live)
    return {name: _measures(live.labels[rows], scores, rows) for name, rows in spans.items()}


def _months(live: Dataset) -> dict[str, NDArray[np.bool_]]:
    months = live.times.astype("datetime64[ms]").astype("datetime64[M]")
    return {str(month): months == month for month in np.unique(months)}


def _measures(
    labels: NDArray[np.float64], scores: Mapping[str, NDArray[np.float64]], rows: NDArray[np.bool_]
) -> dict[str, Any]:
    return {
        "rows": int(rows.sum()),
        "auc": {role: _rounded(auc(labels, scores[role][rows])) for role in ROLES},
        "log_loss": {role: _rounded(log_loss(labels, scores[role][rows])) for role in ROLES},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """The report as tables."""
    counts = Table("what", "how many", title="Counts")
    names = (
        "events_read", "events_applied", "dead_letters", "predictions", "labels_joined", "examples",
        "releases_served", "snapshots_served", "bad_cases", "failed_requests",
    )  # fmt: skip
    for name in names:
        counts.add_row(name.replace("_", " "), f"{report[name]:,}")
    console.print(counts)
    console.print(_quality_table(report))
    speed = Table("what", "how much", title="Speed and size")
    for name, unit in (("latency_ms", "ms"), ("label_to_weights_ms", "ms"), ("rss_mb", "MB")):
        found = report[name] or {}
        text = ", ".join(f"{part} {value}" for part, value in found.items())
        speed.add_row(name.rpartition("_")[0].replace("_", " "), f"{text} {unit}")
    speed.add_row("flights scored", f"{report['scores_per_second']:,.0f}/s")
    console.print(speed)


def _quality_table(report: Mapping[str, Any]) -> Table:
    table = Table("month", "flights", *ROLES, title="AUC / log-loss")
    months: Sequence[tuple[str, Any]] = list(report["months"].items())
    everything = {
        "rows": sum(m["rows"] for _, m in months),
        "auc": report["auc"],
        "log_loss": report["log_loss"],
    }
    for name, found in [*months, ("all", everything)]:
        cells = [_pair(found["auc"][role], found["log_loss"][role]) for role in ROLES]
        label = (
            name
            if name == "all"
            else f"{datetime.fromisoformat(name + '-01').replace(tzinfo=UTC):%B}"
        )
        table.add_row(label, f"{found['rows']:,}", *cells)
    return table


def _pair(area: float | None, loss: float | None) -> str:
    return "-" if area is None or loss is None else f"{area:.4f} / {loss:.4f}"
