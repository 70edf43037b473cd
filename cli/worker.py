"""The worker process put together from its steps."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import prometheus_client
import structlog

from cli.broker import options_of
from cli.kafka_bus import KafkaConsumer
from cli.retrain_process import RetrainProcess, queue_for
from cli.wiring import Clients, connect
from features.decoding import EventDecoder
from features.evolution.differences import define
from features.evolution.state_book import StateBook
from streams.alerts import Alerts
from streams.app import Worker, run_worker
from streams.archive import Archive
from streams.context import Context
from streams.dead_letters import DeadLetterBox
from streams.drift import DriftWatch
from streams.fold import Fold
from streams.join import Join
from streams.learn import Learn, LearnSettings
from streams.measurements import Measurements
from streams.microbatch import MicroBatches, Pace
from streams.rekey import Rekey
from streams.status import StatusBoard
from streams.step import Step
from streams.trials.challengers import Challengers
from tidemill.declaration import Project
from tidemill.errors import ServiceError, StoreUnavailable
from tidemill.settings import Settings


@dataclass(frozen=True, slots=True)
class Fetch:
    """When the broker answers a fetch: at once with `min_bytes`, else after `wait_ms`."""

    wait_ms: int
    min_bytes: int = 1


FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 5.0
ALIGN_SECONDS = 60.0  # so long the join waits for labels that the broker says it has
_LOG = structlog.get_logger()

# Features are waited for; labels may gather for a moment, the archive longer: fewer, larger reads.
LABELS, ARCHIVE = Fetch(20, 64 * 1024), Fetch(500, 1024 * 1024)
# Some learners take a millisecond for an example, and between two polls the group has patience for
# five minutes.
LEARN_RECORDS = 5_000


# A worker holds hundreds of thousands of records that are part of no cycle: at Python's own
# thresholds looking for cycles among them took a third of its time.
GARBAGE_THRESHOLDS = (100_000, 50, 100)


async def work(
    project: Project, settings: Settings, metrics: tuple[str, int] | None, file: Path
) -> None:
    """Run a worker until SIGTERM or SIGINT; `metrics` is the address and port to serve them on.

    `file` is the project's, for the retrains that drift starts.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    measurements = Measurements()
    if metrics is not None:
        _serve_metrics(*metrics, measurements)
    stopping = asyncio.Event()
    async with connect(project, settings) as clients:
        # Not before: a worker that still waits for the broker has nothing to finish.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        await _begin(clients, stopping)
        retrain = _retrain_process(clients, file)
        try:
            await run_worker(_worker(clients, measurements, retrain), stopping)
        finally:
            retrain.stop()


def _retrain_process(clients: Clients, file: Path) -> RetrainProcess:
    # Half of the cores: the worker it runs beside has to keep up meanwhile.
    threads = str(max((os.cpu_count() or 1) // 2, 1))
    project, home = clients.plan.project.name, clients.settings.home
    return RetrainProcess(
        (sys.executable, "-m", "tidemill", "retrain", str(file), "--threads", threads),
        os.environ,
        home / f"{project}.drift_retrain",
        clients.clock,
        enqueue=queue_for(project, home, clients.clock),
    )


async def _begin(clients: Clients, stopping: asyncio.Event) -> None:
    """Enter the declaration in the store's book, as soon as the store answers.

    Raises StateMissing when its state was never backfilled and others hold what was applied.
    """
    book, wait = StateBook(clients.store, clients.names), FIRST_RETRY_SECONDS
    while not stopping.is_set():
        try:
            return await book.begin(define(clients.plan, clients.clock.now_ms()))
        except StoreUnavailable as error:
            _LOG.warning("waiting for the store", error=str(error), retry_seconds=wait)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), wait)
        wait = min(wait * 2, LAST_RETRY_SECONDS)


def _serve_metrics(host: str, port: int, measurements: Measurements) -> None:
    try:
        prometheus_client.start_http_server(port, host, measurements.registry)
    except OSError as error:
        found = "in use by another process" if error.errno == errno.EADDRINUSE else error.strerror
        raise ServiceError(
            f"metrics: port {port} on {host}: {found}; allowed: a free port"
        ) from None


def _worker(clients: Clients, measurements: Measurements, retrain: RetrainProcess) -> Worker:
    settings, clock = clients.settings, clients.clock
    context = Context(
        clients.plan, clients.names, clients.store, clients.producer, measurements, clock
    )
    letters = DeadLetterBox(clients.producer, measurements, clock, settings.dead_letter_limit)
    decoder = EventDecoder(clients.plan.project, clock, settings.clock_skew_ms)
    alerts = Alerts(clients.producer, clock)
    drift = _drift(context, alerts, retrain)
    cadence = LearnSettings(settings.snapshot_interval_ms, settings.catch_up_seconds * 1000)
    learn = Learn(context, clients.registry, alerts, cadence, drift.add if drift else None)
    challengers = Challengers(context, clients.registry, alerts, settings.snapshot_interval_ms)
    archive = Archive(
        context,
        settings.home,
        rows=settings.archive_rows,
        interval_ms=settings.archive_interval_ms,
    )
    features = Fetch(settings.fetch_wait_ms)
    steps: list[tuple[Step, Fetch]] = [
        (Rekey(context, decoder, letters, settings.duplicate_window), features),
        (Fold(context, settings.cache_bytes), features),
        (Join(context, letters, settings.clock_skew_ms, settings.pending_predictions), LABELS),
        (learn, LABELS),
        (challengers, LABELS),
        (archive, ARCHIVE),
    ]
    pace, paces = _paces(settings)
    return Worker(
        clients.names,
        clients.broker.servers,
        settings.home / "faust",
        settings.session_timeout_ms,
        [
            MicroBatches(
                step,
                _consumer(clients, step, fetch),
                measurements,
                paces.get(step.name, pace),
                alerts,
            )
            for step, fetch in steps
        ],
        StatusBoard(context, learn, drift),
        alerts,
        partial(_wake, learn, challengers),
        clients.broker.security,
    )


def _paces(settings: Settings) -> tuple[Pace, dict[str, Pace]]:
    """How the steps read, and those that read otherwise."""
    pace = Pace(batch_records=settings.batch_records)
    learning = replace(pace, batch_records=min(LEARN_RECORDS, settings.batch_records))
    return pace, {
        Join.name: replace(pace, align_seconds=ALIGN_SECONDS),
        Learn.name: learning,
        Challengers.name: learning,
    }


def _wake(learn: Learn, challengers: Challengers) -> None:
    learn.wake()
    challengers.wake()


def _drift(context: Context, alerts: Alerts, retrain: RetrainProcess) -> DriftWatch | None:
    declared = context.plan.project.drift
    if declared is None:
        return None
    return DriftWatch(declared, context, alerts, retrain.start, retrain.last_started_ms())


def _consumer(clients: Clients, step: Step, fetch: Fetch) -> KafkaConsumer:
    session = clients.settings.session_timeout_ms
    options = {
        **options_of(clients.broker),
        "group_id": clients.names.group(step.name),
        "fetch_max_wait_ms": fetch.wait_ms,
        "fetch_min_bytes": fetch.min_bytes,
        "session_timeout_ms": session,
        "heartbeat_interval_ms": session // 3,
        "max_partition_fetch_bytes": 4 * 1024 * 1024,
    }
    return KafkaConsumer(clients.names, step.kinds, options)
