"""The point-in-time join on a Dask cluster: the same bytes, computed in ranges of predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.archive.point_in_time import Columns, KnownEvents, since, take
from features.plan import FeaturePlan
from tidemill.errors import ServiceError, SettingsError

RANGES_PER_WORKER = 4


class DaskCluster:
    """Computes vectors on the workers of a scheduler, which need tidemill installed."""

    def __init__(self, client: Any, ranges: int) -> None:
        self._client, self._ranges = client, ranges

    def vectors_at(
        self, plan: FeaturePlan, events: KnownEvents, requests: Columns, cuts: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """As `point_in_time.vectors_at`; raises ServiceError when the cluster fails.

        Each range replays from its longest window before its first prediction (with lifetime or
        decayed features from the beginning), so that no range needs another's state.
        """
        order = np.argsort(cuts, kind="stable")
        ranges = [rows for rows in np.array_split(order, self._ranges) if len(rows)]
        tasks = [_task(plan, events, requests, cuts, rows) for rows in ranges]
        try:
            futures = [
                self._client.submit(_remotely(), self._client.scatter(task, hash=False), pure=False)
                for task in tasks
            ]
            parts = self._client.gather(futures)
        except Exception as error:  # whatever a worker raised comes back as itself
            raise ServiceError(f"Dask: {type(error).__name__}: {error}") from error
        matrix = np.empty((len(cuts), len(plan.schema.names)), np.float32)
        for rows, part in zip(ranges, parts, strict=True):
            matrix[rows] = part
        return matrix


@contextmanager
def connect_dask(address: str, timeout_seconds: float = 10) -> Iterator[DaskCluster]:
    """A cluster by the address of its scheduler, tcp://host:port; raises as `dask_client`."""
    with dask_client(address, timeout_seconds) as client:
        yield DaskCluster(client, sum(client.nthreads().values()) * RANGES_PER_WORKER)


@contextmanager
def dask_client(address: str, timeout_seconds: float = 10) -> Iterator[Any]:
    """Dask's own client of a cluster that has workers.

    Raises SettingsError without the `dask` extra, ServiceError when the scheduler does not answer.
    """
    try:
        import distributed
    except ImportError:
        raise SettingsError(
            "--dask: found no Dask; allowed: with it (pip install 'tidemill[dask]')"
        ) from None
    try:
        connect: Any = distributed.Client
        client = connect(address, timeout=timeout_seconds)
    except ValueError as error:
        raise SettingsError(
            f"--dask: found {address!r}, {error}; allowed: tcp://HOST:PORT"
        ) from None
    except (OSError, TimeoutError) as error:
        raise ServiceError(f"Dask: scheduler {address}: {error}") from None
    with client:
        if not sum(client.nthreads().values()):
            raise ServiceError(f"Dask: scheduler {address}: found no worker; allowed: one or more")
        yield client


def _task(
    plan: FeaturePlan,
    events: KnownEvents,
    requests: Columns,
    cuts: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[Any, ...]:
    """One range as plain values: its worker may not find our modules before it begins."""
    asked, moments = take(requests, rows), cuts[rows]
    last = int(moments.max())
    known = events.take(tuple(each <= last for each in events.known_ms))
    needed = since(plan, known, asked)
    return plan.project, needed.columns, needed.known_ms, asked, moments


def _remotely() -> Any:
    def vectors(task: tuple[Any, ...]) -> NDArray[np.float32]:
        import sys

        from tidemill.parts import parts_folder

        if (folder := str(parts_folder())) not in sys.path:
            sys.path.insert(0, folder)
        from features.archive.point_in_time import KnownEvents, vectors_at
        from features.plan import compile_plan

        project, columns, known_ms, requests, cuts = task
        return vectors_at(compile_plan(project), KnownEvents(columns, known_ms), requests, cuts)

    return vectors  # a function inside a function travels by value
