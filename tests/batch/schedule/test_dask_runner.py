"""Jobs on a cluster: their ends, stops, and how they are found again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batch.schedule.dask_runner import DaskRunner
from batch.schedule.job import Held
from batch.schedule.local_runner import LocalRunner
from batch.schedule.runner import End, Launch
from tidemill.errors import ServiceError

SLEEP = "import time; time.sleep(60)"
NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Dask scheduler with one worker of two cores in this process."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address=None, resources={"cores": 2, "gpu": 1},
    )  # fmt: skip
    with cluster:
        yield cluster.scheduler_address


@pytest.fixture
def runner(address: str) -> Iterator[DaskRunner]:
    """A runner on it."""
    made = DaskRunner(address)
    yield made
    made.close()


def launch(folder: Path, program: str, number: int = 1, **other: Any) -> Launch:
    """A job that runs this Python program."""
    held = other.pop("held", Held((7,)))
    command, log = (sys.executable, "-c", program), folder / f"{number}.log"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "9"}
    return Launch(number, f"{folder}:{number}:1", command, environment, held, log, **other)


def wait_for(look: Callable[[], Any]) -> Any:
    """What it gives, as soon as it gives anything."""
    deadline = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_job_runs_there_and_its_end_is_told(tmp_path: Path, runner: DaskRunner) -> None:
    """With its code and log; cores and devices are that machine's own."""
    program = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES')); sys.exit(3)"
    job = launch(tmp_path, program, held=Held((7, 8), None, {"gpu": ("9",)}))
    assert "Dask tcp://" in runner.start(job)
    assert [End(1, 3)] == wait_for(runner.ended)
    assert str(os.environ.get("CUDA_VISIBLE_DEVICES")) == job.log.read_text().strip()
    assert [] == runner.ended()
    assert set() == runner.recover([job])


def test_a_stop_and_a_time_limit_reach_it(tmp_path: Path, runner: DaskRunner) -> None:
    """As they would here."""
    runner.start(launch(tmp_path, SLEEP))
    runner.start(launch(tmp_path, SLEEP, 2, time_limit_ms=200))
    assert [End(2, -15, "timed out")] == wait_for(runner.ended)
    runner.stop(1, "preempted")
    runner.stop(1, "cancelled")
    ((_, _, cut),) = [(e.number, e.exit_code, e.cut) for e in wait_for(runner.ended)]
    assert "preempted" == cut


def test_it_outlives_its_scheduler_and_is_found_again(tmp_path: Path, address: str) -> None:
    """By its mark, with its end."""
    job = launch(tmp_path, "import time; print('once', flush=True); time.sleep(2)")
    first = DaskRunner(address)
    first.start(job)
    wait_for(lambda: job.log.exists() and job.log.read_text())
    first.close()
    second = DaskRunner(address)
    assert {1} == second.recover([job, launch(tmp_path, SLEEP, 2)])
    assert [End(1, 0)] == wait_for(second.ended)
    assert "once\n" == job.log.read_text()
    second.close()


def test_a_task_that_never_began_is_cancelled(tmp_path: Path, address: str) -> None:
    """No worker has what it asks for."""
    now = [0.0]
    runner = DaskRunner(address, elapsed=lambda: now[0])
    runner.start(launch(tmp_path, SLEEP, held=Held((1, 2, 3))))
    runner.stop(1, "cancelled")
    assert [] == runner.ended()
    now[0] = 61.0
    assert [End(1, None, "cancelled")] == wait_for(runner.ended)
    runner.close()


def test_a_cluster_that_is_away_is_one_clear_error(tmp_path: Path) -> None:
    """It is asked again after a while; this machine helps out only where that is declared."""
    pytest.importorskip("distributed")
    alone = DaskRunner(NOWHERE)
    for message in ("Dask: scheduler tcp://127.0.0.1:1: ", "did not answer just now"):
        with pytest.raises(ServiceError, match=message):
            alone.start(launch(tmp_path, "pass"))
    with pytest.raises(ServiceError, match="did not answer just now"):
        alone.recover([launch(tmp_path, "pass")])
    helped = DaskRunner(NOWHERE, LocalRunner())
    core = min(os.sched_getaffinity(0))
    assert "process" in helped.start(launch(tmp_path, "pass", held=Held((core,))))
    assert [End(1, 0)] == wait_for(helped.ended)
    helped.stop(1, "cancelled")
    assert [] == helped.close()
