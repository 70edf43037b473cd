"""The demo's own processes: worker and api as children, and what they cost in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import tidemill
from cli.services.process import Launch, failure, outcome, spawn
from tidemill.errors import ServiceError
from tidemill.settings import Settings

START_SECONDS, STOP_SECONDS = 60.0, 60.0


class Child:
    """One tidemill command as a child process that never outlives the demo."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._peak_mb = 0.0

    @property
    def pid(self) -> int:
        """The process id; ServiceError before the start."""
        if self._process is None:
            raise ServiceError(f"{self.launch.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it (main thread only); does not wait."""
        self._process = spawn(self.launch)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    def require_running(self) -> None:
        """Raise ServiceError, with the end of its log, when it has ended."""
        code = self.poll()
        if code is not None:
            raise failure(self.launch, f"ended by itself ({outcome(code)})")

    def peak_mb(self) -> float:
        """The most memory it has had (VmHWM), in MB; the last value seen once it has ended."""
        if self._process is not None and self.poll() is None:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            found = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            self._peak_mb = max(self._peak_mb, int(found.split()[1]) / 1024)
        return round(self._peak_mb, 1)

    def stop(self) -> int:
        """SIGTERM, then wait for the clean end; returns the exit code. Kills it after a minute."""
        process = self._process
        if process is None:
            return 0
        self.peak_mb()
        process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            self._process = None

    def kill(self) -> None:
        """Kill it with -9 if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def command(*arguments: str) -> tuple[str, ...]:
    """The command line of a tidemill command with this very Python."""
    return (sys.executable, "-m", "tidemill", *arguments)


def environment(settings: Settings) -> Mapping[str, str]:
    """A child's environment: this one's, the run's settings and where to find tidemill."""
    package = Path(tidemill.__file__).resolve().parent.parent
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TIDEMILL_KAFKA": str(settings.kafka),
        "TIDEMILL_REDIS": str(settings.redis),
        "TIDEMILL_HOME": str(settings.home.resolve()),
        "TIDEMILL_PARTITIONS": str(settings.partitions),
        "TIDEMILL_FETCH_WAIT_MS": str(settings.fetch_wait_ms),
        # Retrains shall see what was learned a moment ago.
        "TIDEMILL_ARCHIVE_INTERVAL_MS": "1000",
    }


def child(name: str, arguments: tuple[str, ...], env: Mapping[str, str], home: Path) -> Child:
    """A child that logs to `home`/logs."""
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return Child(Launch(name, arguments, Path.cwd(), (logs / f"{name}.log").resolve(), env))


def answers(url: str) -> Callable[[], bool]:
    """A probe: does a GET of the URL answer 200?"""

    def probe() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - a loopback http address
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return probe
