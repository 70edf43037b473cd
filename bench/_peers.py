"""Runs the peers: programs of bench/peers, each in a process and an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.peers.tally import Task

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-bench-peers"
_START_SECONDS = 60.0


class PeerFailed(Exception):
    """A peer is not installed or did not do its task; the text says why."""


@dataclass(frozen=True)
class Peer:
    """A program of `folder`; `own`: it needs the peers' environment, not ours.

    `extra` names an environment beside that one, for what cannot live together with the others.
    """

    module: str
    package: str
    own: bool
    folder: str = "bench.peers"
    extra: str = ""

    @property
    def environment(self) -> Path:
        """Where it is installed, when that is not where we are."""
        suffix = f"-{self.extra}" if self.extra else ""
        return ENVIRONMENT.with_name(ENVIRONMENT.name + suffix)

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        return self.environment / "bin" / "python" if self.own else Path(sys.executable)

    @property
    def missing(self) -> str | None:
        """Why it cannot run."""
        if self.python.exists():
            return None
        command = f"requirements/peers.sh {self.extra}".strip()
        return f"{self.environment.name} is missing: run {command}"

    def run(self, arguments: dict[str, Any], file: Path, seconds: float) -> dict[str, Any]:
        """Run it to its end; what it wrote to `file`. Raises PeerFailed."""
        if self.missing:
            raise PeerFailed(self.missing)
        file.unlink(missing_ok=True)
        command = (str(self.python), "-m", f"{self.folder}.{self.module}", json.dumps(arguments))
        told = os.environ | {"PYTHONPATH": str(ROOT)}
        try:
            ended = subprocess.run(
                command, cwd=file.parent, env=told, capture_output=True, check=False, text=True,
                timeout=seconds + _START_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"no result within {seconds + _START_SECONDS:g} s") from None
        if not file.exists():
            lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
            why = lines[-1] if lines else "nothing on stderr"
            raise PeerFailed(f"exit code {ended.returncode}: {why}")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def version(self) -> str:
        """The installed version of its package, empty when it is not installed."""
        asked = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        if self.missing:
            return ""
        ended = subprocess.run(
            (str(self.python), "-c", asked), capture_output=True, check=False, text=True
        )
        return ended.stdout.strip()


def read_events(peer: Peer, task: Task) -> dict[str, Any]:
    """Let a stream peer do a task; its counts, times and sums. Raises PeerFailed."""
    return peer.run(asdict(task), Path(task.file), task.seconds)
