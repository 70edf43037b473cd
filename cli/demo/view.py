"""What the user sees while the demo runs: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.demo.progress import Phase, Progress

LINE_SECONDS, REFRESHES_PER_SECOND, NEWEST = 5.0, 2, 2_000


class View:
    """Shows a run's progress; `refresh` may be called as often as one likes."""

    def __init__(self, progress: Progress, console: Console | None = None) -> None:
        self._progress = progress
        self.console = console or Console(file=sys.stderr)
        self._live: Live | None = None
        self._shown = 0.0

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announce a part of the run and time it."""
        phase, began = Phase(name), time.perf_counter()
        self._progress.phases.append(phase)
        self.say(f"» {name}")
        yield
        phase.seconds = round(time.perf_counter() - began, 2)
        self.say(f"  done in {phase.seconds:.1f} s")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep a table up to date inside the block, where there is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with Live(
            self._table(), console=self.console, refresh_per_second=REFRESHES_PER_SECOND
        ) as live:
            self._live = live
            try:
                yield
                live.update(self._table())
            finally:
                self._live = None

    def refresh(self) -> None:
        """Show the newest numbers, not more often than anyone reads."""
        now = time.monotonic()
        pause = 1 / REFRESHES_PER_SECOND if self._live else LINE_SECONDS
        if now - self._shown < pause:
            return
        self._shown = now
        if self._live is not None:
            self._live.update(self._table())
        else:
            self.say("  " + "  ".join(f"{name} {value}" for name, value in self._rows() if value))

    def _table(self) -> Table:
        table = Table(title="Tidemill: flights from New York, 2013", show_header=False)
        table.add_column(style="bold")
        table.add_column(min_width=44)
        for name, value in self._rows():
            table.add_row(name, value)
        return table

    def _rows(self) -> list[tuple[str, str]]:
        progress = self._progress
        latency = progress.latency_ms(NEWEST)
        model = progress.status.get("model", {})
        slow = " (slow: retraining)" if progress.retraining else ""
        counts = progress.status.get("worker", {}).get("counts", {})
        return [
            ("event time", moment(progress.event_time_ms)),
            ("scored", f"{progress.scored:,} of {progress.flights_total:,}"),
            ("failed", f"{progress.failed}"),
            ("speed", f"{progress.per_second:,.0f}/s{slow}"),
            ("latency", f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"),
            ("events", f"{progress.events_sent:,}"),
            ("learned", f"{counts.get('examples', 0):,}"),
            ("model", f"{model.get('release')} snapshot {model.get('snapshot')}" if model else ""),
            ("AUC", _quality(progress.status)),
        ]


def moment(event_time_ms: int) -> str:
    """Stream time as people write it."""
    return f"{datetime.fromtimestamp(event_time_ms / 1000, UTC):%d %b %H:%M}"


def _quality(status: Any) -> str:
    series = status.get("worker", {}).get("series") or [{}]
    auc = series[-1].get("auc") or {}
    if auc.get("service") is None:
        return ""
    return f"service {auc['service']:.3f}, frozen release {auc['release']:.3f}"
