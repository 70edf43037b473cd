"""Workers that start at once and die as told: the zygote, its children, and their Kafka groups."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest
from crash_points import Point
from processes import ROOT, environment, until

PROJECT_FILE = Path(__file__).with_name("crash_project.py")
KILLED = -signal.SIGKILL
PATIENCE_SECONDS = 120.0  # a machine may be busy with other things


@dataclass
class Child:
    """One worker process."""

    pid: int
    log_file: Path
    code: asyncio.Future[int]

    def require_alive(self) -> None:
        """Fail, with the end of its log, when it has ended by itself."""
        assert not self.code.done(), f"ended by itself ({self.code.result()}): {self.log[-3000:]}"

    @property
    def log(self) -> str:
        """What it has written."""
        return self.log_file.read_text(errors="replace")

    @property
    def memberships(self) -> set[tuple[str, str]]:
        """The Kafka groups it has joined, or begun to join: (group, member)."""
        lines = [line.split() for line in self.log.splitlines() if line.startswith("member ")]
        return {(group, member) for _, group, member in lines}

    def wake(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """End it as a crash does."""
        self.require_alive()
        os.kill(self.pid, signal.SIGKILL)
        assert KILLED == await self.ended()

    async def stop(self) -> int:
        """End it as a supervisor does; returns its exit code."""
        self.require_alive()
        os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    async def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its exit code."""
        return await asyncio.wait_for(asyncio.shield(self.code), seconds)

    async def says(self, words: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it has written these words."""

        async def said() -> bool:
            self.require_alive()
            return words in self.log

        await until(f"a worker says {words!r}", said, seconds)


@dataclass
class Zygote:
    """Starts workers; an async context manager that ends with all of them."""

    folder: Path
    kafka: str
    redis: str
    settings: dict[str, str]
    project_file: Path = PROJECT_FILE
    _starts: int = 0

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        told = environment(self.folder, self.kafka, self.redis, **self.settings)
        told["PYTHONPATH"] = f"{ROOT}{os.pathsep}{Path(__file__).parent}"
        program = Path(__file__).with_name("crash_worker.py")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(program), str(self.project_file)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=told,
        )  # fmt: skip
        self._starting: deque[tuple[asyncio.Future[Child], Path]] = deque()
        assert self._process.stdout is not None
        assert b"ready" in await self._process.stdout.readline(), "the zygote did not start"
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listener

    def require_alive(self) -> None:
        """Fail when the zygote itself has ended; its stderr says why."""
        assert not self._listener.done(), "the zygote ended by itself"

    async def start(
        self, project: str, point: Point | None = None, with_faust: bool = False
    ) -> Child:
        """A worker; `point` is where it is to die."""
        assert self._process.stdin is not None
        self.require_alive()
        self._starts += 1
        log = self.folder / f"{project}-{self._starts:03d}.log"
        told = {"log": str(log), "project": project, "point": str(point or "")}
        log.touch()
        started: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._starting.append((started, log))
        self._process.stdin.write(json.dumps(told | {"faust": with_faust}).encode() + b"\n")
        return await asyncio.wait_for(started, 30)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        loop = asyncio.get_running_loop()
        codes: dict[int, asyncio.Future[int]] = {}
        async for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "started" in said:
                pid, (started, log) = said["started"], self._starting.popleft()
                codes[pid] = loop.create_future()
                started.set_result(Child(pid, log, codes[pid]))
            elif "ended" in said:
                codes[said["ended"]].set_result(said["code"])


async def evict(kafka: str, child: Child) -> None:
    """Take a dead worker out of its Kafka groups, as its broken sessions would in time."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        for group, member in child.memberships:
            coordinator = await admin.find_coordinator(group)
            await admin._send_request_to_node(coordinator, LeaveGroupRequest(group, member))
    finally:
        await admin.close()


async def delete_groups(kafka: str, child: Child) -> None:
    """Delete the groups of a dead worker, which nobody else may be in.

    The embedded broker waits forever for a group's leader that died between the two calls of a
    join, and closes the connection when it is asked to delete a group that it does not have.
    """
    for group in sorted({group for group, _ in child.memberships}):
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            coordinator = await admin.find_coordinator(group)
            await admin._send_request_to_node(coordinator, DeleteGroupsRequest([group]))
        except KafkaError:
            pass
        finally:
            await admin.close()
