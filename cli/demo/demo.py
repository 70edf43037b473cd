"""The demo from first to last: services, backfill, release, worker and api, replay, report."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from cli.broker import broker_of
from cli.demo.backfill import Backfill
from cli.demo.client import HttpClient, require_ok
from cli.demo.history import History, read_history
from cli.demo.options import DemoOptions
from cli.demo.processes import START_SECONDS, Child, answers, child, command, environment
from cli.demo.progress import Progress
from cli.demo.replay import Connections, Replay
from cli.demo.report import Machine, build_report, print_report
from cli.demo.retraining import KILLED, MOST_STARTS, Retraining
from cli.demo.view import View
from cli.services.directory import LOCK_FILE, claim_directory
from cli.services.embedded import Endpoints, embedded_services
from cli.services.ports import require_free
from cli.services.tansu import SUITABLE
from cli.wiring import connect, connect_producer
from features.archive.files import read_examples
from features.evolution.state_book import StateBook
from features.plan import FeaturePlan, compile_plan
from tidemill.errors import ServiceError, SettingsError
from tidemill.loading import load_project
from tidemill.settings import Settings
from tidemill.topics import Names

# One worker on one machine gains nothing from more, and the embedded broker slows down with each.
HOST = "127.0.0.1"
DRAIN_SECONDS, ARCHIVE_SECONDS, STATUS_SECONDS = 60.0, 15.0, 1.0


@dataclass(frozen=True)
class _Run:
    """What all parts of one run share."""

    options: DemoOptions
    settings: Settings
    env: Mapping[str, str]
    plan: FeaturePlan
    history: History
    progress: Progress
    view: View

    @property
    def home(self) -> Path:
        return self.settings.home

    def command(self, name: str, *arguments: str) -> Child:
        """A tidemill command on the demo's project, not started."""
        file = str(self.options.project.resolve())
        return child(name, command(name, file, *arguments), self.env, self.home)

    def retrain(self, *arguments: str) -> Child:
        """A retrain, not started."""
        if self.options.retrain is None:
            return self.command("retrain", "--json", *arguments)
        file = str(self.options.project.resolve())
        line = (*self.options.retrain, file, "--json", *arguments)
        return child("retrain", line, self.env, self.home)


def run_demo(
    options: DemoOptions, settings: Settings, history: History | None = None
) -> dict[str, Any]:
    """Run it and return the report. Raises TidemillError when a part does not do its work.

    `settings` may name external services; the demo's own data lies under `home`/demo and starts
    afresh. `history` is what happened in 2013 if not all of it.
    """
    progress = Progress()
    view = View(progress)
    home = (settings.home / "demo").resolve()
    _check_options(options)
    with ExitStack() as stack:
        if history is None:
            with view.phase("read the history"):
                history = read_history()
        with view.phase("start services"):
            stack.callback(claim_directory(home).release)
            _empty(home)
            redis = None if settings.redis is None else str(settings.redis)
            services = embedded_services(home, kafka=settings.kafka, redis=redis)
            endpoints = stack.enter_context(services)
        found = _settings(settings, endpoints, home)
        plan = compile_plan(load_project(options.project))
        return _run(_Run(options, found, environment(found), plan, history, progress, view))


def _empty(home: Path) -> None:
    """Begin afresh; the lock that says whose folder it is stays."""
    for each in home.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != LOCK_FILE:
            each.unlink()


def _check_options(options: DemoOptions) -> None:
    """Say now what would otherwise fail minutes later."""
    load_project(options.project)
    require_free("the api", options.port)
    if options.json_file is not None and not options.json_file.resolve().parent.is_dir():
        raise SettingsError(
            f"--json: found {options.json_file}; allowed: a file in an existing folder"
        )


def _settings(settings: Settings, endpoints: Endpoints, home: Path) -> Settings:
    """The run's settings: the services that were started, the demo's own folder."""
    suitable = SUITABLE if settings.kafka is None else {}
    chosen = {
        name: value for name, value in suitable.items() if name not in settings.model_fields_set
    }
    services = {"kafka": endpoints.kafka, "redis": endpoints.redis, "home": home}
    return settings.model_copy(update=chosen | services)


def _run(run: _Run) -> dict[str, Any]:
    view, options = run.view, run.options
    with view.phase("backfill January to April through the kernel"):
        asyncio.run(_load(run))
    with view.phase("train the first release"):
        _train(run)
    with _processes(run) as children:
        with view.phase("replay"):
            uvloop.run(_replay(run, children))
            _wait_for_archive(run)
        report = {}
        if options.serve:
            report = _report(run, children, {})
            _serve(run, children)
        with view.phase("stop"):
            exit_codes = {name: each.stop() for name, each in children.items()}
    report = report or _report(run, children, exit_codes)
    _require_clean_exits(exit_codes)
    return report


def _report(
    run: _Run, children: Mapping[str, Child], exit_codes: Mapping[str, int]
) -> dict[str, Any]:
    """Build, print and write it; needs a complete archive."""
    rss_mb = {name: each.peak_mb() for name, each in children.items()}
    with run.view.phase("report"):
        machine = Machine(rss_mb, exit_codes)
        report = build_report(run.plan.project, run.home, run.progress, machine)
    print_report(report, run.view.console)
    if run.options.json_file is not None:
        run.options.json_file.write_text(json.dumps(report, indent=2) + "\n")
    return report


async def _load(run: _Run) -> None:
    """Fill the archive and the store with what was before the demo's first step."""
    span = run.options.span
    backfill = Backfill(run.plan, run.history, span.start_ms, span.step_ms)
    chosen, vectors = backfill.run()
    count = backfill.archive(run.home, chosen, vectors)
    async with connect(run.plan.project, run.settings) as clients:
        if found := await StateBook(clients.store, clients.names).states():
            name, allowed = run.plan.project.name, "services that hold nothing of this project"
            states = ", ".join(sorted(found))
            raise ServiceError(f"{name}: found feature states {states}; allowed: {allowed}")
        await clients.store.write(list(backfill.blobs(clients.names)))
    run.view.say(f"  {count:,} examples")


def _train(run: _Run) -> None:
    for last in (False,) * (MOST_STARTS - 1) + (True,):
        trainer = run.retrain()
        trainer.start()
        try:
            while (code := trainer.poll()) is None:
                time.sleep(0.05)
            if code != 0 and (last or code != KILLED):
                trainer.require_running()
        finally:
            trainer.kill()
        if code == 0:
            return


@contextmanager
def _processes(run: _Run) -> Iterator[dict[str, Child]]:
    """Worker and api, ready to work; killed at the end if they were not stopped."""
    port = str(run.options.port)
    children = {"worker": run.command("worker"), "api": run.command("api", "--port", port)}
    try:
        with run.view.phase("start worker and api"):
            for each in children.values():
                each.start()
            _wait_until_ready(children, f"http://{HOST}:{port}/readyz")
        run.view.say(f"  console: http://{HOST}:{port}/console/   docs: http://{HOST}:{port}/docs")
        yield children
    finally:
        for each in children.values():
            each.kill()


def _wait_until_ready(children: Mapping[str, Child], url: str) -> None:
    ready, deadline = answers(url), time.monotonic() + START_SECONDS
    # Ours must be running also once the port answers: it could be someone else's.
    while True:
        answered = ready()
        for each in children.values():
            each.require_running()
        if answered:
            return
        if time.monotonic() > deadline:
            raise ServiceError(f"{url} did not answer 200 within {START_SECONDS:g} s")
        time.sleep(0.05)


async def _replay(run: _Run, children: Mapping[str, Child]) -> None:
    options, progress, project = run.options, run.progress, run.plan.project
    names = Names(project.name, run.settings.partitions)
    asked, span = run.history.requests["time"], options.span
    progress.flights_total = int(((asked >= span.start_ms) & (asked < span.end_ms)).sum())

    def watch() -> None:
        for each in children.values():
            each.require_running()
        run.view.refresh()

    def new_retrain() -> Child:
        return run.retrain("--threads", "1")

    with ExitStack() as stack:
        scores, labels, others, looks = (
            stack.enter_context(closing(HttpClient(HOST, options.port, lanes)))
            for lanes in (options.lanes, 2, 1, 1)
        )
        stack.enter_context(run.view.live())
        retraining = Retraining(options.retrains_ms, new_retrain, others, progress, watch)
        stack.callback(retraining.stop)
        async with (
            connect_producer(broker_of(run.settings), names) as producer,
            _looking(looks, progress),
        ):
            connections = Connections(scores, labels, others, producer)
            await Replay(project, run.history, options, connections, progress).run(retraining.after)
            await _drain(others, progress, watch)


@asynccontextmanager
async def _looking(client: HttpClient, progress: Progress) -> AsyncIterator[None]:
    """Keep the service's status up to date inside the block."""

    async def look() -> None:
        while True:
            reply = await client.get("/v1/status")
            if reply.status == 200:
                progress.status = msgspec.json.decode(reply.body)
            await asyncio.sleep(STATUS_SECONDS)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()


async def _drain(client: HttpClient, progress: Progress, watch: Callable[[], None]) -> None:
    """Wait until every label is joined and learned, or until nothing has moved for a minute."""
    before, moved = (-1, -1), time.monotonic()
    while time.monotonic() - moved < DRAIN_SECONDS:
        watch()
        progress.status = msgspec.json.decode(
            require_ok(await client.get("/v1/status"), "GET /v1/status")
        )
        counts = progress.status["worker"]["counts"]
        joined, learned = counts.get("labels_joined", 0), counts.get("examples", 0)
        settled = joined + counts.get("labels_refused", 0) >= progress.labels_sent
        if settled and learned >= joined and counts.get("events_read", 0) >= progress.events_sent:
            return
        if (joined, learned) != before:
            before, moved = (joined, learned), time.monotonic()
        await asyncio.sleep(0.2)


def _wait_for_archive(run: _Run) -> None:
    """The worker writes the archive a moment later, and the report is made from it."""
    wanted = run.progress.status["worker"]["counts"]["examples"]
    deadline = time.monotonic() + ARCHIVE_SECONDS
    while (archived := _archived(run)) < wanted:
        if time.monotonic() > deadline:
            raise ServiceError(f"archive: found {archived} examples; allowed: {wanted}")
        time.sleep(0.2)


def _archived(run: _Run) -> int:
    """How many live examples the archive holds."""
    offsets = read_examples(run.home, run.plan.project.name)["offset"]
    return int((offsets.to_numpy() >= 0).sum())


def _serve(run: _Run, children: Mapping[str, Child]) -> None:
    """Keep everything running until Ctrl-C."""
    run.view.say(f"serving on http://{HOST}:{run.options.port}; Ctrl-C ends")
    run.view.say("  to work on it from another terminal:")
    for name in ("KAFKA", "REDIS", "HOME", "PARTITIONS", "FETCH_WAIT_MS"):
        run.view.say(f"  export TIDEMILL_{name}={run.env[f'TIDEMILL_{name}']}")
    try:
        while True:
            for each in children.values():
                each.require_running()
            time.sleep(0.5)
    except KeyboardInterrupt:
        return


def _require_clean_exits(exit_codes: Mapping[str, int]) -> None:
    for name, code in exit_codes.items():
        if code != 0:
            raise ServiceError(f"{name}: found exit code {code} after SIGTERM; allowed: 0")
