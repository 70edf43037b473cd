"""Retrains in the middle of the replay: `tidemill retrain` beside the service, then its swap."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgspec

from cli.demo.client import HttpClient, require_ok
from cli.demo.processes import Child
from cli.demo.progress import Progress, Retrain
from cli.demo.timeline import Step
from tidemill.errors import ServiceError

PUBLISHED, REFUSED, KILLED = 0, 3, -9
MOST_STARTS = 3  # of one retrain that is killed again and again
SWAP_SECONDS = 120.0


class Retraining:
    """Called after each step: starts a retrain when its time has come and watches for the swap."""

    def __init__(
        self,
        times_ms: tuple[int, ...],
        new_child: Callable[[], Child],
        client: HttpClient,
        progress: Progress,
        watch: Callable[[], None],
    ) -> None:
        self._due = list(times_ms)
        self._new_child, self._client, self._progress, self._watch = (
            new_child,
            client,
            progress,
            watch,
        )
        self._child: Child | None = None
        self._current: Retrain | None = None
        self._began = self._ended = 0.0

    async def after(self, step: Step) -> bool:
        """True while a retrain or its swap is under way. Raises ServiceError when either fails."""
        self._watch()
        if self._current is None:
            if not self._due or step.barrier_ms < self._due[0]:
                return False
            self._begin(self._due.pop(0))
        elif self._child is not None:
            self._look_for_end()
        else:
            await self._look_for_swap()
        self._progress.retraining = self._current is not None
        return self._progress.retraining

    def stop(self) -> None:
        """Kill a retrain that still runs."""
        if self._child is not None:
            self._child.kill()

    def _begin(self, at_ms: int) -> None:
        self._child, self._began = self._new_child(), perf_counter()
        self._child.start()
        self._current = Retrain(at_ms, "running", None, 0.0)
        self._progress.retrains.append(self._current)

    def _look_for_end(self) -> None:
        assert self._child is not None and self._current is not None
        code = self._child.poll()
        if code is None:
            return
        if code == KILLED and self._current.starts < MOST_STARTS:
            self._child = self._new_child()  # as cron would; it goes on where it was
            self._child.start()
            self._current.starts += 1
            return
        if code not in (PUBLISHED, REFUSED):
            self._child.require_running()
        found = _last_json(self._child.launch.log_file.read_text())
        self._current.outcome = found.get("outcome", "")
        self._current.reasons = list(found.get("reasons", ()))
        self._current.release = found.get("release")
        self._current.seconds = round(perf_counter() - self._began, 1)
        self._child, self._ended = None, perf_counter()
        if code == REFUSED:
            self._current = None

    async def _look_for_swap(self) -> None:
        assert self._current is not None
        status = msgspec.json.decode(
            require_ok(await self._client.get("/v1/status"), "GET /v1/status")
        )
        if status["model"]["release"] == self._current.release:
            self._current = None
        elif perf_counter() - self._ended > SWAP_SECONDS:
            raise ServiceError(f"{self._current.release} was not served within {SWAP_SECONDS:g} s")


def _last_json(log: str) -> dict[str, Any]:
    lines = [line for line in log.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found
