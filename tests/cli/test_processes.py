"""Several processes: started, watched, started again with growing waits, and ended together."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from cli.processes import Group, RestartPolicy, Supervisor

QUICK = RestartPolicy(first_seconds=0.01, longest_seconds=0.05, drain_seconds=5)
# Tells that it serves, writes its process id into a file of its own, and ends when it is told to.
SERVES = """
import os, signal, sys, time
folder, number, told = sys.argv[1], sys.argv[2], int(sys.argv[3])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(f"{folder}/{number}", "a") as file:
    file.write(f"{os.getpid()}\\n")
os.write(told, b"\\n")
time.sleep(60)
"""
STUBBORN = SERVES.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")


def group_of(folder: Path, count: int, script: str = SERVES) -> Group:
    """So many processes of a script."""

    def command(number: int, told: int) -> list[str]:
        return [sys.executable, "-c", script, str(folder), str(number), str(told)]

    return Group(command, count, os.environ)


def starts(folder: Path) -> dict[str, list[int]]:
    """The process ids of each that has told of its own, oldest first."""
    return {
        file.name: [int(line) for line in file.read_text().splitlines()]
        for file in sorted(folder.iterdir())
    }


async def until(condition) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_all_run_until_they_are_told_to_end(tmp_path):
    """Each is started once, and ends by itself when told."""
    supervisor = Supervisor(group_of(tmp_path, 3), QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: [1, 1, 1] == [len(pids) for pids in starts(tmp_path).values()])
    supervisor.stop()
    assert 0 == await running
    assert [1, 1, 1] == [len(pids) for pids in starts(tmp_path).values()]


async def test_one_that_dies_is_started_again(tmp_path):
    """The others go on as they are."""
    supervisor = Supervisor(group_of(tmp_path, 2), QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: [1, 1] == [len(pids) for pids in starts(tmp_path).values()])
    os.kill(starts(tmp_path)["1"][0], signal.SIGKILL)
    await until(lambda: len(starts(tmp_path)["1"]) == 2)
    supervisor.stop()
    assert 0 == await running
    assert [1, 2] == [len(pids) for pids in starts(tmp_path).values()]


async def test_what_keeps_the_first_from_serving_is_said_once(tmp_path):
    """The others are not even started; its exit code is that of all."""
    mistake = "import sys; open(sys.argv[1] + '/' + sys.argv[2], 'w').write('1'); sys.exit(2)"
    supervisor = Supervisor(group_of(tmp_path, 3, mistake), QUICK)
    async with asyncio.timeout(20):
        assert 2 == await supervisor.run()
    assert ["0"] == list(starts(tmp_path))


async def test_told_to_end_before_the_first_serves(tmp_path):
    """A signal during the start is an orderly end."""
    supervisor = Supervisor(group_of(tmp_path, 2, "import time; time.sleep(60)"), QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor._running)
    supervisor.stop()
    async with asyncio.timeout(20):
        assert 0 == await running


async def test_one_that_does_not_end_is_killed(tmp_path):
    """Who is told to end has a limited time."""
    policy = RestartPolicy(drain_seconds=0.2)
    supervisor = Supervisor(group_of(tmp_path, 1, STUBBORN), policy)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: starts(tmp_path))
    supervisor.stop()
    async with asyncio.timeout(20):
        assert 1 == await running


async def test_a_command_that_cannot_be_run_ends_it():
    """Exit code 1 and a line in the log, not a traceback."""
    supervisor = Supervisor(Group(lambda *_: ["/nowhere/at/all"], 2, {}), QUICK)
    async with asyncio.timeout(20):
        assert 1 == await supervisor.run()


@pytest.mark.parametrize(("ends", "seconds"), [(0, 0.5), (1, 1.0), (3, 4.0), (50, 30.0)])
def test_waits_grow_up_to_a_limit(ends, seconds):
    """Doubled with every early end in a row."""
    assert seconds == RestartPolicy().wait(ends)
