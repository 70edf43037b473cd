"""The jobs command: what the scheduler's queue holds, and what an operator wants of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cli.command import AsJson, errors_as_exit_codes
from cli.scheduler import log_of
from tidemill.clock import SystemClock
from tidemill.durations import duration_ms
from tidemill.errors import InputError
from tidemill.settings import read_settings

if TYPE_CHECKING:
    from batch.schedule.job import Job, JobRequest
    from batch.schedule.queue import JobQueue
    from tidemill.jobs import JobsReport

app = typer.Typer(help="The scheduler's queue.", no_args_is_help=True)
LOG_BYTES = 4_000
Number = Annotated[int, typer.Argument(metavar="ID", help="The job's number.")]


@app.command()
def submit(  # noqa: PLR0913 - a command has as many parameters as options
    project: Annotated[str, typer.Argument(help="A project of the schedule.")],
    kind: Annotated[str, typer.Argument(help="What to run: retrain, tune, dataset, …")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its options, after `--`.")] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Goes before every experiment.")
    ] = False,
    priority: Annotated[int, typer.Option(help="A point is worth an hour of waiting.")] = 0,
    cores: Annotated[int, typer.Option(help="Cores it gets.", min=1)] = 1,
    memory: Annotated[str | None, typer.Option(help="Memory it may take, such as 8GB.")] = None,
    gpu: Annotated[
        list[str] | None, typer.Option(help="A GPU by label; LABEL=2 for two of them.")
    ] = None,
    time_limit: Annotated[str | None, typer.Option(help="Such as 6h.")] = None,
    attempts: Annotated[int, typer.Option(help="How often it is tried in all.", min=1)] = 3,
    as_json: AsJson = False,
) -> None:
    """Add a job to the queue. Exit codes: 0 added, 1 failed, 2 no such project or kind."""
    with errors_as_exit_codes(), _queue() as (queue, home):
        from batch.schedule.job import JobRequest, Resources
        from batch.schedule.resources import bytes_of

        size = None if memory is None else bytes_of("--memory", memory)
        limit = None if time_limit is None else duration_ms("--time-limit", time_limit)
        request = JobRequest(
            project, kind, tuple(arguments or ()), production, priority,
            Resources(cores, size, _devices(gpu or [])), attempts, limit,
        )  # fmt: skip
        _check(queue, request)
        job = queue.add(request, "hand", SystemClock().now_ms())
        _say(job, home, as_json)


@app.command("list")
def list_jobs(
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    as_json: AsJson = False,
) -> None:
    """What waits and why, what runs, and what ended last and how."""
    with errors_as_exit_codes(), _queue() as (queue, home):
        from batch.schedule.queue import scheduler_runs
        from batch.schedule.report import report

        found = report(queue, SystemClock().now_ms(), project, scheduler_runs(home))
        typer.echo(msgspec.json.encode(found).decode() if as_json else in_words(found))


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """One job with all that is known of it, and the end of its newest log."""
    with errors_as_exit_codes(), _queue() as (queue, home):
        job = _found(queue, number)
        log = log_of(job, home)
        tail = _tail(log)
        found = msgspec.to_builtins(job) | {"log": str(log), "log_end": tail}
        typer.echo(json.dumps(found) if as_json else _details(job, log, tail))


@app.command()
def cancel(number: Number, as_json: AsJson = False) -> None:
    """End a job that waits or runs (SIGTERM first). Exit code 2 where it has ended already."""
    with errors_as_exit_codes(), _queue() as (queue, home):
        now = SystemClock().now_ms()
        _found(queue, number)
        job = queue.change(
            number, "waiting", state="ended", ended_ms=now, outcome="cancelled",
            meaning="cancelled by an operator",
        ) or queue.change(number, "running", order="cancel")  # fmt: skip
        _say(_or_refuse(queue, number, job, "one that waits or runs"), home, as_json)


@app.command()
def retry(number: Number, as_json: AsJson = False) -> None:
    """Run a job again that has ended, or at once one that backs off; its attempts begin anew."""
    with errors_as_exit_codes(), _queue() as (queue, home):
        now = SystemClock().now_ms()
        _found(queue, number)
        fresh = {"state": "waiting", "ready_ms": now, "failures": 0, "interruptions": 0}
        job = queue.change(number, "ended", **fresh, submitted_ms=now, ended_ms=None)
        job = job or queue.change(number, "waiting", **fresh)
        _say(_or_refuse(queue, number, job, "one that has ended or waits"), home, as_json)


def in_words(found: JobsReport) -> str:
    """The report as lines."""
    now = found.seen_ms or 0
    lines = [f"{len(found.waiting)} waiting, {len(found.running)} running"]
    for run in found.running:
        lines.append(f"{_head(run)}  running {_span(now - run.started_ms)}  {run.place}")
    for wait in found.waiting:
        until = "" if wait.until_ms is None else f" until {_clock(wait.until_ms)}"
        lines.append(f"{_head(wait)}  waiting {_span(now - wait.submitted_ms)}  {wait.why}{until}")
    for end in found.ended:
        code = "" if end.exit_code is None else f" ({end.exit_code})"
        lines.append(f"{_head(end)}  {end.outcome}{code} {_clock(end.ended_ms)}  {end.meaning}")
    return "\n".join(lines)


def _head(part: Any) -> str:
    group = "production" if part.production else "experiment"
    return f"{part.id:>5}  {group}  {part.what}  [{part.origin}]"


def _details(job: Job, log: Path, tail: str) -> str:
    request = job.request
    group = "production" if request.production else "experiment"
    lines = [
        f"{job.id}  {job.state}  {group}  {request.project}: {request.what}  [{job.origin}]",
        f"  submitted {_clock(job.submitted_ms)}, {job.attempt} attempts, {job.failures} failed",
        f"  {job.outcome or job.state}: {job.meaning}" if job.meaning else "",
        f"  log {log}",
        tail,
    ]
    return "\n".join(line for line in lines if line)


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(ms: int) -> str:
    seconds = max(ms, 0) // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _devices(texts: list[str]) -> dict[str, int]:
    """GPUs by label, of `LABEL` or `LABEL=COUNT`."""
    found: dict[str, int] = {}
    for text in texts:
        label, _, count = text.partition("=")
        if not label or not (count or "1").isdecimal():
            raise InputError("gpu", "--gpu", repr(text), "LABEL or LABEL=COUNT")
        found[label] = int(count or 1)
    return found


def _check(queue: JobQueue, request: JobRequest) -> None:
    """Refuse what no scheduler of this home would ever start."""
    from batch.schedule.kinds import KINDS

    projects = ", ".join(queue.projects()) or "none: start `tidemill scheduler` once"
    if request.project not in queue.projects():
        raise InputError("project", "PROJECT", request.project, f"one of {projects}")
    if request.kind not in KINDS:
        raise InputError("kind", "KIND", request.kind, "one of " + ", ".join(KINDS))


def _found(queue: JobQueue, number: int) -> Job:
    job = queue.job(number)
    if job is None:
        raise InputError("job", "ID", str(number), "a number that `tidemill jobs list` shows")
    return job


def _or_refuse(queue: JobQueue, number: int, changed: Job | None, allowed: str) -> Job:
    if changed is None:
        raise InputError("state", f"job {number}", _found(queue, number).state, allowed)
    return changed


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _say(job: Job, home: Path, as_json: bool) -> None:
    from batch.schedule.queue import scheduler_runs

    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(job)))
        return
    ending = ", to be cancelled" if job.order == "cancel" else ""
    typer.echo(f"job {job.id}: {job.request.project} {job.request.what}: {job.state}{ending}")
    if job.state == "waiting" and not scheduler_runs(home):
        typer.echo("no scheduler runs: start `tidemill scheduler SCHEDULE.toml`", err=True)


@contextmanager
def _queue() -> Iterator[tuple[JobQueue, Path]]:
    from batch.schedule.queue import JobQueue

    home = read_settings().home
    with closing(JobQueue(home)) as queue:
        yield queue, home
