"""Real children: their ends, limits and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batch.schedule.job import Held
from batch.schedule.local_runner import LocalRunner
from batch.schedule.processes import MARK, kill_marked
from batch.schedule.runner import End, Launch
from tidemill.errors import ServiceError

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(60)"
)


@pytest.fixture
def runner() -> Iterator[LocalRunner]:
    """A runner whose jobs are ended with the test."""
    made = LocalRunner(grace_seconds=0.3)
    yield made
    made.close()


def launch(tmp_path: Path, program: str, number: int = 1, **other: object) -> Launch:
    """A job that runs this Python program."""
    held = other.pop("held", Held())
    command = (sys.executable, "-c", program)
    log = tmp_path / "jobs" / str(number) / "1.log"
    mark = f"{tmp_path}:{number}:1"
    return Launch(number, mark, command, dict(os.environ), held, log, **other)


def wait_for(look: Callable[[], object]) -> object:
    """What it gives, as soon as it gives anything."""
    deadline = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def read(log: Path) -> str:
    """A log so far."""
    return log.read_text() if log.exists() else ""


def test_an_end_is_told_once_with_its_code_and_log(tmp_path: Path, runner: LocalRunner) -> None:
    """Both streams go to the attempt's file."""
    job = launch(tmp_path, "import sys; print('out'); sys.exit('err')")
    runner.start(job)
    assert [End(1, 1)] == wait_for(runner.ended)
    assert [] == runner.ended()
    assert {"out", "err"} == set(read(job.log).split())


def test_what_is_held_is_what_it_sees(tmp_path: Path, runner: LocalRunner) -> None:
    """Its cores, and its mark."""
    core = min(os.sched_getaffinity(0))
    program = f"import os; print(os.sched_getaffinity(0), os.environ['{MARK}'])"
    job = launch(tmp_path, program, held=Held((core,)))
    runner.start(job)
    wait_for(runner.ended)
    assert f"{{{core}}} {job.mark}" == read(job.log).strip()


def test_a_stop_is_polite_first(tmp_path: Path, runner: LocalRunner) -> None:
    """SIGTERM, and SIGKILL for one that does not listen."""
    polite, stubborn = launch(tmp_path, SLEEP), launch(tmp_path, STUBBORN, 2)
    runner.start(polite)
    runner.start(stubborn)
    wait_for(lambda: read(stubborn.log))
    runner.stop(1, "cancelled")
    runner.stop(2, "preempted")
    found: list[End] = []
    wait_for(lambda: found.extend(runner.ended()) or len(found) == 2)
    assert {End(1, -15, "cancelled"), End(2, -9, "preempted")} == set(found)


def test_a_time_limit_ends_it(tmp_path: Path, runner: LocalRunner) -> None:
    """By the clock that does not jump."""
    runner.start(launch(tmp_path, SLEEP, time_limit_ms=100))
    assert [End(1, -15, "timed out")] == wait_for(runner.ended)


def test_memory_beyond_the_limit_is_refused(tmp_path: Path, runner: LocalRunner) -> None:
    """Before the machine runs out of it; what is reserved but not taken does not count."""
    reserve = "import mmap; mmap.mmap(-1, 10**10, prot=0, flags=mmap.MAP_PRIVATE)"
    runner.start(launch(tmp_path, reserve, held=Held((), 200_000_000)))
    assert [End(1, 0)] == wait_for(runner.ended)
    job = launch(tmp_path, "x = bytearray(400_000_000)", 2, held=Held((), 200_000_000))
    runner.start(job)
    assert [End(2, 1)] == wait_for(runner.ended)
    assert "MemoryError" in read(job.log)


def test_memory_of_several_processes_counts_together(tmp_path: Path, runner: LocalRunner) -> None:
    """Each alone would be allowed; one of them has a session of its own."""
    eat = "x = bytearray(b'x' * 150_000_000); import time; time.sleep(60)"
    program = (
        "import subprocess, sys\n"
        f"many = [subprocess.Popen([sys.executable, '-c', {eat!r}], start_new_session=n > 1)\n"
        "        for n in range(3)]\n"
        "for each in many: each.wait()\n"
    )
    runner.start(launch(tmp_path, program, held=Held((), 350_000_000)))
    assert [End(1, -9, "out of memory")] == wait_for(runner.ended)


def test_nothing_of_a_job_outlives_it(tmp_path: Path, runner: LocalRunner) -> None:
    """Not even what left its session."""
    program = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)\n"
        "print(child.pid)\n"
    )
    job = launch(tmp_path, program)
    runner.start(job)
    wait_for(runner.ended)
    pid = int(read(job.log))
    wait_for(lambda: not alive(pid))
    assert 0 == kill_marked(job.mark)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_that_is_not_there_is_one_clear_error(
    tmp_path: Path, runner: LocalRunner
) -> None:
    """Nothing runs then."""
    held, log = Held(), tmp_path / "1.log"
    with pytest.raises(ServiceError, match="/no/such cannot be started"):
        runner.start(Launch(1, "m", ("/no/such",), {}, held, log))
    assert [] == runner.ended()


def test_children_end_with_a_scheduler_that_is_killed(tmp_path: Path) -> None:
    """kill -9; what they left behind is found by its mark and ended by the next one."""
    program = f"""
import os, sys, time
from pathlib import Path
from batch.schedule.job import Held
from batch.schedule.local_runner import LocalRunner
from batch.schedule.runner import Launch
inner = '''
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
'''
command = (sys.executable, "-c", inner)
LocalRunner().start(Launch(1, "{tmp_path}:1:1", command, dict(os.environ), Held(),
                           Path("{tmp_path}/log")))
time.sleep(60)
"""
    scheduler = subprocess.Popen([sys.executable, "-c", program])
    text = wait_for(lambda: read(tmp_path / "log").endswith("\n") and read(tmp_path / "log"))
    child, left_behind = map(int, str(text).split())
    os.kill(scheduler.pid, signal.SIGKILL)
    scheduler.wait()
    wait_for(lambda: not alive(child))
    assert alive(left_behind)
    assert set() == LocalRunner().recover([launch(tmp_path, "")])
    wait_for(lambda: not alive(left_behind))
