"""The worker and the api as real processes, and bounded waiting for what they bring about."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from cli.services.ports import free_port
from cli.services.process import Launch, spawn

ROOT = Path(__file__).parents[2]
FAST_SESSION = {"TIDEMILL_SESSION_TIMEOUT_MS": "2000"}
PROJECT_FILE = Path(__file__).with_name("project.py")
PATIENCE_SECONDS = 60.0
EXIT_SECONDS = 30.0
_POLL_SECONDS = 0.05
Result = TypeVar("Result")


class Command:
    """`tidemill NAME ARGUMENTS` as a child that dies with the tests; each start has its own log."""

    def __init__(
        self, name: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path
    ) -> None:
        self.name, self._arguments, self._folder = name, arguments, folder
        self.environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self.starts, self.stopped = 0, False

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._child is not None
        return self._child

    @property
    def log_file(self) -> Path:
        """What the newest process writes."""
        return self._folder / f"{self.name}-{self.starts:02d}.log"

    @property
    def log(self) -> str:
        """What the newest process has written."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        """Start it; returns at once."""
        self.starts += 1
        command = (sys.executable, "-m", "tidemill", self.name, *self._arguments)
        launch = Launch(self.name, command, self._folder, self.log_file, self.environment)
        self._child, self.stopped = spawn(launch), False

    def require_alive(self) -> None:
        """Fail, with the end of its log, when it has ended by itself."""
        ended = self._child is not None and not self.stopped and self._child.poll() is not None
        assert not ended, f"{self.name} ended by itself: {self.log[-3000:]}"

    def kill(self) -> None:
        """End it as a crash does."""
        if self._child is not None:
            self.stopped = True
            self._child.kill()
            self._child.wait()

    async def stop(self) -> int:
        """End it as a supervisor does; returns its exit code."""
        self.stopped = True
        self.child.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its exit code."""

        async def code() -> int | None:
            return self.child.poll()

        return await until(f"{self.name} ends", code, EXIT_SECONDS, lambda found: found is not None)

    async def says(self, words: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the newest process has written these words."""

        async def said() -> bool:
            self.require_alive()
            return words in self.log

        await until(f"{self.name} says {words!r}", said, seconds)


@dataclass(frozen=True)
class Service:
    """A worker and an api with the services they use; `client` speaks to the api."""

    home: Path
    kafka: str
    redis: str
    worker: Command
    api: Command
    client: httpx.AsyncClient

    @property
    def commands(self) -> tuple[Command, Command]:
        """Worker and api."""
        return self.worker, self.api

    async def stop(self) -> list[int]:
        """End both as a supervisor does; returns their exit codes."""
        return await asyncio.gather(*(command.stop() for command in self.commands))

    async def ready(self) -> None:
        """Wait until the api says that nothing is missing."""

        async def answer() -> dict[str, object]:
            return await self.get("/readyz")

        await until("the api is ready", answer, good=lambda found: bool(found.get("ready")))

    async def get(self, path: str) -> dict[str, object]:
        """The JSON at a path; empty while the api does not answer."""
        for command in self.commands:
            command.require_alive()
        try:
            answer: dict[str, object] = (await self.client.get(path)).json()
        except httpx.TransportError:
            return {}
        return answer


def environment(home: Path, kafka: str, redis: str, **more: str) -> dict[str, str]:
    """What a process of ours is told."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    own = {"TIDEMILL_KAFKA": kafka, "TIDEMILL_REDIS": redis, "TIDEMILL_HOME": str(home)}
    return inherited | {"PYTHONPATH": str(ROOT)} | own | more


def make_service(
    home: Path, kafka: str, redis: str, project_file: Path = PROJECT_FILE, **more: str
) -> Service:
    """A service that has not been started."""
    port, told = free_port(), environment(home, kafka, redis, **more)
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    worker = Command("worker", (str(project_file),), told, logs)
    api = Command("api", (str(project_file), "--port", str(port)), told, logs)
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15)
    return Service(home, kafka, redis, worker, api, client)


async def until(
    what: str,
    ask: Callable[[], Awaitable[Result]],
    seconds: float = PATIENCE_SECONDS,
    good: Callable[[Result], bool] = bool,
) -> Result:
    """Ask again and again; the first good answer, or a failure naming the last one."""
    deadline = time.monotonic() + seconds
    while not good(answer := await ask()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; last: {answer!r}"
        await asyncio.sleep(_POLL_SECONDS)
    return answer
