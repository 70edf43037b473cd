"""A progress bar where someone looks, for every long batch job."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.native_output import native_output_on_stderr


class ProgressBar:
    """Shows a job's stages one under the other."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: Any = None

    def start(self, stage: str, steps: int) -> None:
        """Finish the bar of the stage before and begin a new one."""
        self._finish()
        self._task = self._bars.add_task(stage, total=steps)

    def advance(self, steps: int = 1) -> None:
        """Move the bar on."""
        self._bars.advance(self._task, steps)

    def note(self, text: str) -> None:
        """Say this beside the bar."""
        self._bars.update(self._task, description=text)

    def _finish(self) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=self._bars.tasks[-1].total)


@contextmanager
def progress_bar() -> Iterator[ProgressBar]:
    """Bars on stderr, nothing where it is no terminal; nobody but the caller prints to stdout."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:>20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Progress(*columns, console=console, disable=not sys.stderr.isatty())
    with native_output_on_stderr(), bars:
        yield ProgressBar(bars)
