"""The api as several processes on one port; each is like the one, and adopts models by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from api.http.server import bind
from cli.openness import refuse_open
from cli.processes import Group, RestartPolicy, Supervisor
from tidemill.errors import SettingsError
from tidemill.loading import load_project
from tidemill.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where an api listens; of several processes there, which this is and whom to tell.

    `told` is a file descriptor that gets a byte once this process serves.
    """

    host: str
    port: int
    member: int | None = None
    told: int | None = None

    @property
    def shared(self) -> bool:
        """True for one of several processes on the port."""
        return self.member is not None

    def settings(self, settings: Settings) -> Settings:
        """The settings of this process: the admin ports of several count up from the first."""
        if self.member is None or settings.admin_port is None:
            return settings
        return settings.model_copy(update={"admin_port": settings.admin_port + self.member})

    def tell(self) -> None:
        """Tell the supervisor, where there is one, that this process serves."""
        if self.told is not None:
            os.write(self.told, b"\n")
            os.close(self.told)


def run_processes(file: Path, settings: Settings, place: Place, count: int) -> int:
    """Serve by so many processes until SIGTERM or SIGINT; the exit code when all have ended.

    Raises SettingsError without an admin port, and ServiceError for a port in use.
    """
    refuse_open(settings, load_project(file).name, place.host, settings.admin_host)
    first = settings.admin_port
    if first is None or first + count > 65_536:
        found = "nothing" if first is None else first
        raise SettingsError(
            f"TIDEMILL_ADMIN_PORT: found {found}; allowed with --processes {count}: the first of "
            f"{count} ports, one for each process's metrics (on the port that they share the "
            "kernel chooses who answers)"
        )
    ports = [(place.host, place.port)]
    ports += [(settings.admin_host, first + number) for number in range(count)]
    with ExitStack() as held:  # in use, or by two of them: said once, and not again and again
        for host, number in ports:
            held.enter_context(bind(host, number))
    group = Group(_command(file, place), count, os.environ)
    return asyncio.run(_supervise(group))


def _command(file: Path, place: Place) -> Callable[[int, int], list[str]]:
    def command(number: int, told: int) -> list[str]:
        where = ["--host", place.host, "--port", str(place.port)]
        which = ["--member", str(number), "--told", str(told)]
        return [sys.executable, "-m", "tidemill", "api", str(file), *where, *which]

    return command


async def _supervise(group: Group) -> int:
    supervisor, loop = Supervisor(group, RestartPolicy()), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    return await supervisor.run()
