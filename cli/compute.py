"""What the commands that replay the archive share: the worker's rules, and where to compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from tidemill.settings import Settings

Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Backfill features on this Dask scheduler."),
]


def rules(settings: Settings) -> Any:
    """The worker's rules for events, as it was run with these settings."""
    from features.archive.events import Rules

    return Rules(settings.clock_skew_ms, settings.duplicate_window)


@contextmanager
def compute_on(dask: str | None) -> Iterator[Any]:
    """Where features are backfilled: here, or on a Dask cluster. Raises SettingsError."""
    from features.archive.point_in_time import vectors_at

    if dask is None:
        yield vectors_at
        return
    from batch.dask_cluster import connect_dask

    with connect_dask(dask) as cluster:
        yield cluster.vectors_at
