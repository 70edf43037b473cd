"""Worker processes in milliseconds: imports once, then forks a real worker for every line on stdin.

A line is JSON: `log` (a file), `project` (its name), `point` (see `crash_points`, empty for none)
and `faust` (false: the steps run without their host, which takes two of a start's four seconds).
Answers are lines on stdout: `{"started": pid}`, and `{"ended": pid, "code": code}` with -9 for a
killed one. The end of stdin ends all of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import faulthandler
import json
import logging
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import crash_points
import numpy as np
import uvloop

import cli.worker
from features.plan import compile_plan
from features.replay import Replayer
from streams.app import Worker, _report
from tidemill.declaration import Project
from tidemill.loading import load_project
from tidemill.settings import read_settings

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PRCTL = ctypes.CDLL(None).prctl


def main(project_file: Path) -> None:
    """Serve until stdin ends."""
    project = load_project(project_file)
    _warm_up(project)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    _say({"ready": os.getpid()})
    waiting = b""
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            _reap()
        if 0 in readable:
            read = os.read(0, 65536)
            if not read:
                return
            *lines, waiting = (waiting + read).split(b"\n")
            for line in lines:
                _say({"started": _fork(project, json.loads(line))})


def _warm_up(project: Project) -> None:
    """Load the compiled kernels: every child then has them."""
    replayer = Replayer(compile_plan(project))
    for event in project.events:
        row = {field.name: "x" if field.type is str else 1.0 for field in event.columns}
        columns = {name: np.array([value]) for name, value in row.items()}
        replayer.apply(event.name, columns | {"time": np.array([1])})


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _say(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _fork(project: Project, told: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        _run(dataclasses.replace(project, name=told["project"]), told["point"], told["faust"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _run(project: Project, point: str, with_faust: bool) -> None:
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING)
    settings = read_settings()
    crash_points.tell_members()
    if point:
        crash_points.arm(crash_points.Point.parse(point), str(settings.redis))
    if not with_faust:
        cli.worker.run_worker = _run_steps
    uvloop.run(cli.worker.work(project, settings, None, Path(sys.argv[1])))


async def _run_steps(worker: Worker, stopping: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        for step in worker.steps:
            group.create_task(step.run(stopping))
        group.create_task(_report(worker.status, stopping))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
