"""Trials may be trained on a Dask cluster; the study stays here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batch.datasets.dataset import Dataset
from batch.search.search import SearchOptions, search
from tidemill import LinearModel, Project
from tidemill.errors import ServiceError


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A Dask scheduler with a worker in this process, on the loopback."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address=None,
    )  # fmt: skip
    with cluster:
        yield cluster.scheduler_address


def test_a_cluster_finds_what_one_process_finds(
    searching: Callable[..., Project], rows: Dataset, tmp_path: Path, scheduler: str
) -> None:
    """The same trials with the same losses, and the same settings in the end."""
    project = searching(families=(LinearModel(hash_bits=10),), trials=4)
    here = search(project, rows, tmp_path / "here", SearchOptions(threads=1))
    there = search(project, rows, tmp_path / "there", SearchOptions(dask=scheduler))
    assert (here.settings, here.score) == (there.settings, there.score)
    several = SearchOptions(dask=scheduler, jobs=2)
    assert 4 <= search(project, rows, tmp_path / "several", several).trials


def test_a_cluster_that_is_not_there_is_one_clear_error(
    searching: Callable[..., Project], rows: Dataset, tmp_path: Path, scheduler: str
) -> None:
    """And the search can be gone on with: nothing was tried."""
    project = searching(families=(LinearModel(hash_bits=10),), trials=2)
    options = SearchOptions(dask="tcp://127.0.0.1:1")
    with pytest.raises(ServiceError, match="Dask: scheduler tcp://127.0.0.1:1"):
        search(project, rows, tmp_path, options)
    assert 2 == search(project, rows, tmp_path, replace(options, dask=scheduler)).trials
