"""Gradient-boosted trees on several machines: LightGBM's own network, set up through Dask.

    with connect_trees(address) as cluster:
        model = TreesOnDask(settings, schema, task, cluster).train(rows)

Every worker gets a part of the rows and finds the best splits of its share of the features; they
add up each leaf's histograms between them (data parallel: Ke et al., 2017; Meng et al., 2016), so
that all grow the same trees. The model is that of one machine but for the order of sums and for
bins, of which each is cut by what one worker sees. The same rows on as many workers give the same
bytes. Not `lightgbm.dask`: it wants rows as Dask collections and models as scikit-learn's, and
thereby dask.array, pandas and scikit-learn, where this needs the scheduler and the workers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

import numpy as np

from batch.dask_cluster import dask_client
from batch.progress import Progress, Silent
from batch.trainers.trainer import TrainingRows, Watch
from batch.trainers.trees import TreesTrainer
from learners.learner import checked_labels
from learners.release import TREES_FILE, ModelFile
from learners.trees import FrozenTrees
from tidemill.errors import ServiceError, TrainingFailed
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, Task
from tidemill.trainer_kinds import LightGBM

NETWORK_MINUTES = 10
"""So long a worker waits for the others to listen, and for what they send."""


class TreesCluster:
    """Workers that train together; each uses the cores that Dask gave it."""

    def __init__(self, client: Any, workers: Sequence[str]) -> None:
        self.client, self.workers = client, tuple(workers)


@contextmanager
def connect_trees(
    address: str, workers: int | None = None, timeout_seconds: float = 10
) -> Iterator[TreesCluster]:
    """Workers of the scheduler at tcp://host:port, all or the first so many by their address.

    Raises SettingsError without the `dask` extra, ServiceError when the scheduler does not answer
    or has too few workers.
    """
    with dask_client(address, timeout_seconds) as client:
        found = sorted(client.nthreads())
        wanted = len(found) if workers is None else workers
        if len(found) < wanted:
            raise ServiceError(
                f"Dask: scheduler {address}: found {len(found)} workers; allowed: {wanted} or more"
            )
        yield TreesCluster(client, found[:wanted])


class TreesOnDask(TreesTrainer):
    """As `TreesTrainer`, on the workers of a cluster, which need LightGBM and not tidemill."""

    def __init__(  # noqa: PLR0913  what every trainer is made of
        self,
        settings: LightGBM,
        schema: FeatureSchema,
        task: Task = BINARY,
        *,
        cluster: TreesCluster,
        progress: Progress | None = None,
        champion: ModelFile | None = None,
    ) -> None:
        super().__init__(settings, schema, task, 0, progress, champion)
        self._cluster, self._told = cluster, progress or Silent()

    def train(
        self, rows: TrainingRows, stage: str = "train", watch: Watch | None = None
    ) -> ModelFile:
        """See `Trainer`; progress and a watch are told once, of the whole model.

        Raises ServiceError when the cluster fails, TrainingFailed when LightGBM does.
        """
        labels = checked_labels(self.task, rows.labels, len(rows))
        parts = np.array_split(np.arange(len(rows)), len(self._cluster.workers))
        if len(parts[-1]) == 0:
            raise TrainingFailed(
                f"LightGBM on Dask: found {len(rows)} rows; allowed: at least one for each of "
                f"{len(parts)} workers"
            )
        self._told.start(stage, self.steps)
        checked = TrainingRows(rows.vectors, labels, rows.weights)
        text = self._together([checked.take(part) for part in parts])
        self._told.advance(self.steps)
        if watch is not None:
            watch.seen(self.steps, FrozenTrees.parse(text).predict_many(watch.vectors))
        return ModelFile(TREES_FILE, text)

    def _together(self, parts: list[TrainingRows]) -> bytes:
        try:
            text = self._ask(parts)
        except Exception as error:  # whatever a worker raised comes back as itself
            if type(error).__name__ == "LightGBMError":
                raise TrainingFailed(f"LightGBM on Dask: {error}") from error
            raise ServiceError(f"Dask: {type(error).__name__}: {error}") from error
        # Which ports were free and how many cores there were is not to change the bytes.
        for name, neutral in (("num_threads", "0"), ("machines", ""), ("local_listen_port", "0")):
            text = re.sub(rf"(?m)^\[{name}: .*\]$", f"[{name}: {neutral}]", text)
        return text.encode()

    def _ask(self, parts: list[TrainingRows]) -> str:
        """Have each worker train on its part; all come to the same trees, the first one's count."""
        client, workers = self._cluster.client, self._cluster.workers
        places, cores = self._places(), client.nthreads()
        futures = []
        for worker, place, part in zip(workers, places, parts, strict=True):
            order = self._order(places, place, cores[worker])
            columns = (part.vectors, part.labels, part.weights)
            data = client.scatter(columns, workers=[worker], hash=False)
            futures.append(_on(client, worker, _remotely(), order, data))
        try:
            texts: list[str] = client.gather(futures)
        finally:
            client.cancel(futures)
        return texts[0]

    def _places(self) -> list[str]:
        """Where each worker will listen for the others, host:port."""
        client, workers = self._cluster.client, self._cluster.workers
        ports = client.gather([_on(client, worker, _free_port()) for worker in workers])
        hosts = [urlparse(worker).hostname for worker in workers]
        return [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]

    def _order(self, places: list[str], place: str, cores: int) -> dict[str, Any]:
        """All that a worker needs beside its rows, as plain values."""
        network = {
            "machines": ",".join(places),
            "local_listen_port": int(place.rpartition(":")[2]),
            "num_machines": len(places),
            "time_out": NETWORK_MINUTES,
            "tree_learner": "data" if len(places) > 1 else "serial",
            "pre_partition": True,
            "num_threads": cores,
        }
        return {
            "parameters": {**self._parameters(), **network},
            "rounds": self.steps,
            "features": list(self.schema.names),
            "categorical": list(self.schema.categorical),
            "champion": self._champion.data.decode() if self._champion else None,
        }


def _on(client: Any, worker: str, call: Any, *values: Any) -> Any:
    """A task for this worker and no other, never from memory and never again."""
    return client.submit(
        call, *values, workers=[worker], allow_other_workers=False, pure=False, retries=0
    )


def _free_port() -> Any:
    def free_port() -> int:
        import socket

        with socket.socket() as found:
            found.bind(("", 0))
            return int(found.getsockname()[1])

    return free_port  # a function inside a function travels by value


def _remotely() -> Any:
    def trees(order: dict[str, Any], data: tuple[Any, ...]) -> str:
        import lightgbm

        vectors, labels, weights = data
        rows = lightgbm.Dataset(
            vectors,
            labels,
            weight=None if (weights == 1).all() else weights,
            feature_name=order["features"],
            categorical_feature=order["categorical"],
            params=order["parameters"],
            free_raw_data=order["champion"] is None,
        )
        champion = order["champion"] and lightgbm.Booster(model_str=order["champion"])
        try:
            made = lightgbm.train(order["parameters"], rows, order["rounds"], init_model=champion)
            return str(made.model_to_string())
        finally:
            # Else the next training in this worker would talk to machines that are gone.
            library: Any = lightgbm.basic
            library._LIB.LGBM_NetworkFree()

    return trees
