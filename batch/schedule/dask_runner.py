"""Runs the same jobs on the workers of a Dask cluster, which outlive the scheduler.

A job is a task that is published under its mark: it runs on when its scheduler is killed, and the
next one finds it again by that name. The workers need tidemill, the project files and TIDEMILL_HOME
under the same paths, and say what they have:

    dask worker tcp://HOST:8786 --resources "cores=8,memory=32e9,h100=1"
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from batch.schedule.runner import Cut, End, Launch, Runner
from tidemill.errors import ServiceError, SettingsError

CONNECT_SECONDS = 3.0
AGAIN_SECONDS = 15.0
"""So long a cluster that did not answer is left alone."""
PATIENCE_SECONDS = 60.0
"""A task that was told to stop and is not over by then was never begun."""
_POLL_SECONDS = 0.5
_DEVICES = "CUDA_VISIBLE_DEVICES"
_log = structlog.get_logger()


@dataclass(slots=True)
class _Task:
    """An attempt on the cluster."""

    name: str
    future: Any
    cut: Cut = ""
    cancel_at: float | None = None


class DaskRunner:
    """Starts jobs on the workers of a scheduler at tcp://host:port; see `Runner`.

    `fallback` runs them while the cluster does not answer; without one they wait.
    """

    def __init__(
        self,
        address: str,
        fallback: Runner | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import distributed
        except ImportError:
            raise SettingsError(
                "dask: found no Dask; allowed: with it (pip install 'tidemill[dask]')"
            ) from None
        self._dask: Any = distributed
        self._address, self._fallback, self._elapsed = address, fallback, elapsed
        self._client: Any = None
        self._failed_at: float | None = None
        self._tasks: dict[int, _Task] = {}

    def start(self, launch: Launch) -> str:
        """See `Runner`."""
        try:
            client = self._connected()
        except ServiceError as error:
            if self._fallback is None:
                raise
            _log.warning("falls back to this machine", job=launch.number, error=str(error))
            return self._fallback.start(launch)
        name = _name(launch)
        future = client.submit(
            _remotely(), _as_plain(launch), name, key=name, pure=False,
            resources=_resources(launch),
        )  # fmt: skip
        client.publish_dataset(future, name=name, override=True)
        self._tasks[launch.number] = _Task(name, future)
        return f"Dask {self._address}"

    def ended(self) -> list[End]:
        """See `Runner`."""
        found = self._fallback.ended() if self._fallback is not None else []
        for number, task in list(self._tasks.items()):
            if task.cancel_at is not None and self._elapsed() >= task.cancel_at:
                task.future.cancel()
            if task.future.status != "pending":
                del self._tasks[number]
                found.append(self._end(number, task))
        return found

    def stop(self, number: int, cut: Cut) -> None:
        """See `Runner`: the worker is told, and does it as this machine would."""
        task = self._tasks.get(number)
        if task is None:
            if self._fallback is not None:
                self._fallback.stop(number, cut)
        elif not task.cut:
            task.cut, task.cancel_at = cut, self._elapsed() + PATIENCE_SECONDS
            self._dask.Event(task.name, client=self._connected()).set()

    def recover(self, launches: Sequence[Launch]) -> set[int]:
        """See `Runner`."""
        if self._fallback is not None:
            self._fallback.recover(launches)
        if not launches:
            return set()
        client = self._connected()
        published = set(client.list_datasets())
        for launch in launches:
            if (name := _name(launch)) in published:
                self._tasks[launch.number] = _Task(name, client.get_dataset(name))
        return set(self._tasks)

    def close(self) -> list[End]:
        """See `Runner`: what is on the cluster stays there and is found again."""
        found = self._fallback.close() if self._fallback is not None else []
        if self._client is not None:
            self._client.close()
        return found

    def _connected(self) -> Any:
        if self._client is not None and self._client.status in ("running", "connecting"):
            return self._client
        if self._failed_at is not None and self._elapsed() < self._failed_at + AGAIN_SECONDS:
            raise ServiceError(f"Dask: scheduler {self._address} did not answer just now")
        try:
            self._client = self._dask.Client(
                self._address, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError) as error:
            self._failed_at = self._elapsed()
            raise ServiceError(f"Dask: scheduler {self._address}: {error}") from None
        self._failed_at = None
        return self._client

    def _end(self, number: int, task: _Task) -> End:
        if task.future.status != "finished":
            # Also where its machine is gone: nobody knows how far it came.
            _log.warning("lost on Dask", job=number, status=task.future.status)
            return End(number, None, task.cut or "lost")
        code, there = task.future.result()
        cut: Cut = "" if code == 0 else task.cut or there
        try:
            self._connected().unpublish_dataset(task.name)
        except ServiceError as error:
            _log.warning("not taken off Dask", job=number, error=str(error))
        return End(number, code, cut)


def run_on_worker(plain: dict[str, Any], name: str) -> tuple[int | None, str]:
    """Run an attempt in a worker's thread, as a runner of that machine would: its code and cut."""
    import os

    import distributed

    from batch.schedule.local_runner import LocalRunner

    event: Any = distributed.Event
    stop, runner = event(name), LocalRunner()
    if (devices := os.environ.get(_DEVICES)) is not None:
        plain["environment"][_DEVICES] = devices
    launch = msgspec.convert(plain, Launch, dec_hook=lambda kind, text: kind(text))
    if stop.is_set():
        return None, "stopped"
    runner.start(launch)
    while not (ends := runner.ended()):
        if stop.is_set():
            runner.stop(launch.number, "stopped")
        time.sleep(_POLL_SECONDS)
    return ends[0].exit_code, ends[0].cut


def _remotely() -> Any:
    def attempt(plain: dict[str, Any], name: str) -> Any:
        import sys

        from tidemill.parts import parts_folder

        if (folder := str(parts_folder())) not in sys.path:
            sys.path.insert(0, folder)
        from batch.schedule.dask_runner import run_on_worker

        return run_on_worker(plain, name)

    return attempt  # a function inside a function travels by value


def _as_plain(launch: Launch) -> dict[str, Any]:
    """As plain values; the numbers of cores and devices are those of this machine, not of that."""
    plain: dict[str, Any] = msgspec.to_builtins(launch, enc_hook=str)
    plain["held"]["cores"] = []
    plain["environment"].pop(_DEVICES, None)
    return plain


def _resources(launch: Launch) -> dict[str, float]:
    held = launch.held
    memory = {} if held.memory_bytes is None else {"memory": held.memory_bytes}
    gpus = {label: len(ids) for label, ids in held.gpus.items() if ids}
    return {"cores": max(len(held.cores), 1), **memory, **gpus}


def _name(launch: Launch) -> str:
    return f"tidemill:{launch.mark}"
