"""The queue keeps what it was told, and two writers do not undo each other's changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scheduling import NOW, request  # noqa: E402

from batch.schedule.queue import (  # noqa: E402
    KEPT,
    WAITS,
    JobQueue,
    only_scheduler,
    scheduler_runs,
)
from tidemill.errors import LockedError, ServiceError  # noqa: E402


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    """An empty queue."""
    with closing(JobQueue(tmp_path / "home")) as made:
        yield made


def test_a_job_is_as_it_was_asked_for(queue: JobQueue, tmp_path: Path) -> None:
    """Also for another process."""
    wanted = request(arguments=("--json",), gpus={"h100": 1}, memory=7, production=True)
    job = queue.add(wanted, "hand", NOW)
    with closing(JobQueue(tmp_path / "home")) as other:
        assert [job] == other.jobs("waiting")
        assert wanted == other.job(job.id).request
    assert None is queue.job(99)


def test_a_change_needs_the_expected_state(queue: JobQueue) -> None:
    """What was cancelled meanwhile does not start."""
    job = queue.add(request(), "hand", NOW)
    assert "ended" == queue.change(job.id, "waiting", state="ended").state
    assert None is queue.change(job.id, "waiting", state="running")
    assert [] == queue.jobs("waiting", "running")


def test_two_writers_keep_each_others_changes(queue: JobQueue, tmp_path: Path) -> None:
    """An order given while the scheduler writes is not lost."""
    job = queue.add(request(), "hand", NOW)
    queue.change(job.id, "waiting", state="running")
    with closing(JobQueue(tmp_path / "home")) as other:
        other.change(job.id, "running", order="cancel")
    assert "cancel" == queue.change(job.id, "running", attempt=2).order


def test_drift_waits_once(queue: JobQueue) -> None:
    """Per project, kind and class; one that runs is another matter."""
    retrain = request(kind="retrain", production=True)
    job = queue.add_if_none_waits(retrain, "drift", NOW)
    assert None is queue.add_if_none_waits(retrain, "drift", NOW)
    assert queue.add_if_none_waits(request("cards", "retrain", production=True), "drift", NOW)
    assert queue.add_if_none_waits(request(kind="retrain"), "drift", NOW)
    queue.change(job.id, "waiting", state="running")
    assert queue.add_if_none_waits(retrain, "drift", NOW)


def test_a_tick_and_its_job_are_one(queue: JobQueue) -> None:
    """While the entry's job of before waits, only the tick is noted."""
    first = queue.fire("monthly", 5, request(), NOW)
    assert ("cron monthly", {"monthly": 5}) == (first.origin, queue.ticks())
    assert None is queue.fire("monthly", 6, request(), NOW)
    assert None is queue.fire("other", 7, None, NOW)
    assert {"monthly": 6, "other": 7} == queue.ticks()
    assert 1 == len(queue.jobs("waiting"))


def test_a_failed_change_leaves_nothing(queue: JobQueue) -> None:
    """Neither the tick nor the job."""
    with pytest.raises(TypeError):
        queue.fire("monthly", 5, request(arguments=(object(),)), NOW)
    assert ({}, []) == (queue.ticks(), queue.jobs("waiting"))
    assert queue.add(request(), "hand", NOW)


def test_the_oldest_ended_jobs_are_forgotten(queue: JobQueue) -> None:
    """Those that wait never."""
    waiting = queue.add(request(), "hand", NOW)
    with queue._changing():
        for _ in range(KEPT + 2):
            queue._insert(request(), "hand", NOW)
        queue._database.execute("UPDATE jobs SET state = 'ended' WHERE id > 1")
    assert [3, 2] == queue.forget()
    assert [] == queue.forget()
    assert waiting == queue.job(1)


def test_what_the_scheduler_says_is_replaced(queue: JobQueue) -> None:
    """And is empty before it says anything, or where another version said it."""
    assert {} == queue.waits()
    queue.tell(WAITS, {3: "quota"})
    queue.tell(WAITS, {4: "backoff"})
    assert {4: "backoff"} == queue.waits()
    queue.tell(WAITS, {"x": [1]})
    assert {} == queue.waits()


def test_there_is_one_scheduler(tmp_path: Path) -> None:
    """The second is told who the first is; looking disturbs neither."""
    assert not scheduler_runs(tmp_path)
    with only_scheduler(tmp_path):
        assert scheduler_runs(tmp_path)
        with (
            pytest.raises(LockedError, match="another scheduler .process"),
            only_scheduler(tmp_path),
        ):
            pass
    assert not scheduler_runs(tmp_path)


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    """It names the file."""
    (tmp_path / "scheduler.db").write_bytes(b"something else" * 100)
    with pytest.raises(ServiceError, match="job queue .*scheduler.db: file is not a database"):
        JobQueue(tmp_path)


def test_a_full_disk_is_one_clear_error_and_passes(queue: JobQueue) -> None:
    """What was there is whole, and with room it goes on."""
    first = queue.add(request(), "hand", NOW)
    queue._database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(ServiceError, match="scheduler.db: database or disk is full"):
        for _ in range(1_000):
            queue.add(request(arguments=("x" * 10_000,)), "hand", NOW)
    assert first == queue.job(first.id)
    queue._database.execute("PRAGMA max_page_count = 1000000")
    assert queue.add(request(), "hand", NOW).id > first.id


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Every job whose number was printed is there, and the file is whole."""
    program = (
        "import sys, pathlib\n"
        "from batch.schedule.queue import JobQueue\n"
        "from batch.schedule.job import JobRequest\n"
        "queue = JobQueue(pathlib.Path(sys.argv[1]))\n"
        "while True: print(queue.add(JobRequest('p', 'skew'), 'hand', 1).id, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        told = [int(child.stdout.readline()) for _ in range(30)]
        child.kill()
        told += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    with closing(JobQueue(tmp_path)) as queue:
        assert set(told) <= {job.id for job in queue.jobs("waiting")}
