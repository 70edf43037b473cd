"""Measurements on a Dask cluster: the study stays here, the trainings go to the workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from batch.dask_cluster import dask_client
from batch.search.folds import Fold
from batch.search.measure import Asked, Measure, Measured
from tidemill.declaration import Project
from tidemill.errors import ServiceError, TidemillError


class RemoteMeasure:
    """Measures on whichever worker is free; several threads may ask at once.

    A worker trains with one thread for each of its own; rows are sent to a worker once.
    """

    def __init__(
        self, client: Any, project: Project, folds: Sequence[Fold], seed: int, timed: bool
    ) -> None:
        self._client, self._seed, self._timed = client, seed, timed
        self._data = client.scatter((project, _plain(folds)), broadcast=True, hash=False)

    def __call__(self, asked: Asked) -> Measured:
        """See `Measure`. Raises ServiceError when the cluster fails."""
        task = (
            asked.settings, asked.fold, asked.rung.rows, asked.rung.resource, asked.to_beat,
            asked.seconds, self._seed, self._timed,
        )  # fmt: skip
        try:
            future = self._client.submit(_remotely(), self._data, task, pure=False)
            found = future.result()
        except TidemillError:
            raise
        except Exception as error:
            if _of_the_cluster(error):
                raise ServiceError(f"Dask: {type(error).__name__}: {error}") from error
            raise
        return Measured(*found)


@contextmanager
def remote_measure(
    address: str, project: Project, folds: Sequence[Fold], seed: int, timed: bool
) -> Iterator[Measure]:
    """Measures on the cluster of this scheduler, tcp://host:port. Raises as `dask_client`."""
    with dask_client(address) as client:
        yield RemoteMeasure(client, project, folds, seed, timed)


def _of_the_cluster(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("distributed", "dask", "asyncio")


def _plain(folds: Sequence[Fold]) -> list[Any]:
    """Folds as arrays: a worker may not find our modules before it begins."""
    return [
        [(rows.vectors, rows.labels, rows.weights) for rows in (fold.learned, fold.checked)]
        for fold in folds
    ]


def _remotely() -> Any:
    def measured(data: tuple[Any, Any], task: tuple[Any, ...]) -> tuple[Any, ...]:
        import sys

        from tidemill.parts import parts_folder

        if (folder := str(parts_folder())) not in sys.path:
            sys.path.insert(0, folder)
        from batch.search.folds import Fold, Rung
        from batch.search.measure import Asked, LocalMeasure
        from batch.trainers.trainer import TrainingRows

        project, plain = data
        settings, fold, rows, resource, to_beat, seconds, seed, timed = task
        folds = [Fold(*(TrainingRows(*part) for part in parts)) for parts in plain]
        measure = LocalMeasure(project, folds, seed, 1, timed)
        found = measure(Asked(settings, fold, Rung(rows, resource), to_beat, seconds))
        return tuple(getattr(found, name) for name in found.__slots__)

    return measured  # a function inside a function travels by value
