"""A Dask cluster computes the bytes that one process computes."""

from __future__ import annotations

from pathlib import Path

import pytest
from archived import NEW, RATES, live, project

from batch.dask_cluster import connect_dask
from batch.training_set import Compute, TrainingSet
from features.archive.files import read_examples
from features.archive.point_in_time import vectors_at
from features.plan import compile_plan
from tidemill.errors import ServiceError


def vectors(home: Path, features: tuple, compute: Compute = vectors_at) -> bytes:
    """The archive's examples brought to these features."""
    training = TrainingSet(home, compile_plan(project(features)), compute=compute)
    return training.vectors(read_examples(home, "payments")).vectors.tobytes()


@pytest.fixture
def scheduler():
    """A Dask scheduler with a worker in this process, on the loopback."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address=None,
    )  # fmt: skip
    with cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("features", [NEW, RATES])
def test_a_cluster_gives_the_same_bytes(tmp_path: Path, scheduler: str, features: tuple) -> None:
    """In ranges on Dask or in one go, every bit is the same."""
    live(tmp_path)
    expected = vectors(tmp_path, features)
    with connect_dask(scheduler) as cluster:
        found = vectors(tmp_path, features, cluster.vectors_at)
    assert expected == found


def test_a_scheduler_that_is_not_there_is_one_clear_error() -> None:
    """The address is named."""
    pytest.importorskip("distributed")
    with (
        pytest.raises(ServiceError, match="Dask: scheduler tcp://127.0.0.1:1"),
        connect_dask("tcp://127.0.0.1:1", timeout_seconds=0.5),
    ):
        pass
