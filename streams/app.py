"""The Faust app: it hosts the micro-batch services and the agents of low-rate topics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faust
import structlog
from faust.types.auth import CredentialsT
from mode import Service

from streams.alerts import Alerts
from streams.microbatch import MicroBatches
from streams.status import StatusBoard
from tidemill.errors import StoreUnavailable
from tidemill.topics import BADCASES, MODELS, Names
from tidemill.wire import Announcement, BadCaseFound, decode

STATUS_SECONDS = 1.0
STOP_SECONDS = 20.0
_log = structlog.get_logger()


@dataclass(frozen=True)
class Worker:
    """What a worker process consists of."""

    names: Names
    broker: str
    data_directory: Path
    session_timeout_ms: int
    steps: Sequence[MicroBatches]
    status: StatusBoard
    alerts: Alerts
    release_announced: Callable[[], None]
    broker_security: Mapping[str, Any] = field(default_factory=dict, repr=False)


async def run_worker(worker: Worker, stopping: asyncio.Event) -> None:
    """Run until `stopping` is set or a step fails; steps finish their batch before this returns.

    Raises what a step failed with.
    """
    app = faust.App(
        worker.names.group("worker"),
        broker=f"kafka://{worker.broker}",
        broker_credentials=_credentials(worker.broker_security),
        datadir=str(worker.data_directory),
        store="memory://",
        web_enabled=False,
        topic_partitions=1,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        broker_session_timeout=worker.session_timeout_ms / 1000,
        broker_heartbeat_interval=worker.session_timeout_ms / 3000,
    )
    failures: asyncio.Queue[BaseException] = asyncio.Queue()
    for step in worker.steps:
        _host(app, f"step {step.step.name}", stopping, failures, _runner(step, stopping))
    _host(app, "alerts", stopping, failures, lambda: worker.alerts.run(stopping))
    _host(app, "status", stopping, failures, lambda: _report(worker.status, stopping))
    _add_agents(app, worker)
    await app.start()
    try:
        await _until_stopped(stopping, failures)
    finally:
        stopping.set()
        await _stop(app)


def _credentials(security: Mapping[str, Any]) -> CredentialsT | None:
    """The options of our Kafka clients, which name TLS and login, in Faust's words."""
    context = security.get("ssl_context")
    if "sasl_mechanism" in security:
        return faust.SASLCredentials(
            username=security["sasl_plain_username"],
            password=security["sasl_plain_password"],
            ssl_context=context,
            mechanism=security["sasl_mechanism"],
        )
    return None if context is None else faust.SSLCredentials(context)


async def _stop(app: faust.App) -> None:
    """Stop; end the process where clients that wait for a lost broker keep it from stopping.

    Ending at once loses nothing: what is not behind the fences is read again.
    """
    try:
        await asyncio.wait_for(app.stop(), STOP_SECONDS)
    except TimeoutError:
        _log.critical("stopped by force", seconds=STOP_SECONDS)
        os._exit(1)


def _runner(step: MicroBatches, stopping: asyncio.Event) -> Callable[[], Awaitable[None]]:
    return lambda: step.run(stopping)


async def _until_stopped(stopping: asyncio.Event, failures: asyncio.Queue[BaseException]) -> None:
    stop, failure = asyncio.create_task(stopping.wait()), asyncio.create_task(failures.get())
    await asyncio.wait((stop, failure), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if failure.done():
        raise failure.result()
    failure.cancel()


def _host(
    app: faust.App,
    label: str,
    stopping: asyncio.Event,
    failures: asyncio.Queue[BaseException],
    run: Callable[[], Awaitable[None]],
) -> None:
    """Let Faust start and stop one of our loops; its end by an error ends the worker."""

    class Hosted(Service):
        async def on_start(self) -> None:
            self._loop_task = asyncio.create_task(self._guarded(), name=label)

        async def on_stop(self) -> None:
            stopping.set()
            await self._loop_task

        async def _guarded(self) -> None:
            try:
                await run()
            except Exception as error:
                failures.put_nowait(error)

    app.service(Hosted)


async def _report(status: StatusBoard, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            await status.publish()
        except StoreUnavailable as error:
            _log.warning("status not written", error=str(error))
        try:
            await asyncio.wait_for(stopping.wait(), STATUS_SECONDS)
        except TimeoutError:
            continue


def _add_agents(app: faust.App, worker: Worker) -> None:
    models = app.topic(worker.names.topic(MODELS), value_type=bytes, value_serializer="raw")
    bad_cases = app.topic(worker.names.topic(BADCASES), value_type=bytes, value_serializer="raw")

    @app.agent(models, name="models")
    async def models_agent(announcements: faust.StreamT[bytes]) -> None:
        async for data in announcements:
            if decode(Announcement, data).kind == "release":
                worker.release_announced()

    @app.agent(bad_cases, name="badcases")
    async def bad_cases_agent(cases: faust.StreamT[bytes]) -> None:
        async for data in cases:
            worker.status.found(decode(BadCaseFound, data))
