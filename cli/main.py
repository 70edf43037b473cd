"""The `tidemill` command: parse, call, and turn errors into one clear line and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import tidemill
from cli.asyncapi import asyncapi
from cli.audit import app as audit
from cli.command import (
    INTERRUPTED,
    AsJson,
    ProjectFile,
    errors_as_exit_codes,
    prepare,
)
from cli.dataset import app as dataset
from cli.features import app as features
from cli.gate import gate
from cli.jobs import app as jobs
from cli.keys import app as keys
from cli.learn import app as learn
from cli.lineage import lineage
from cli.logs import log_to_stderr
from cli.models import app as models
from cli.replay import replay
from cli.retrain import retrain
from cli.runs import app as runs
from cli.scheduler import scheduler
from cli.skew import skew
from cli.studies import app as studies
from cli.trial import trial
from cli.tune import tune
from tidemill.loading import load_project
from tidemill.settings import read_settings

app = typer.Typer(
    help="Live scoring with models that learn from every outcome.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(audit, name="audit")
app.add_typer(dataset, name="dataset")
app.add_typer(features, name="features")
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="keys")
app.add_typer(learn, name="learn")
app.add_typer(models, name="models")
app.add_typer(runs, name="runs")
app.add_typer(studies, name="studies")
app.command()(asyncapi)
app.command()(gate)
app.command()(lineage)
app.command()(replay)
app.command()(retrain)
app.command()(scheduler)
app.command()(skew)
app.command()(trial)
app.command()(tune)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Live scoring with models that learn from every outcome."""
    if version:
        typer.echo(tidemill.__version__)
        raise typer.Exit


@app.command()
def check(file: ProjectFile) -> None:
    """Check a project file and say what it declares."""
    with errors_as_exit_codes():
        project = load_project(file)
        entities = ", ".join(entity.name for entity in project.entities) or "none"
        typer.echo(
            f"{project.name}: {len(project.events)} events, {len(project.feature_names)} features, "
            f"entities: {entities}"
        )


@app.command()
def worker(
    file: ProjectFile,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve Prometheus metrics here.", min=1, max=65535)
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="The address for metrics.")] = "127.0.0.1",
) -> None:
    """Keep features fresh, join labels, learn and archive (TIDEMILL_KAFKA, TIDEMILL_REDIS)."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        log_to_stderr()
        import uvloop

        from cli.worker import work

        place = None if metrics_port is None else (metrics_host, metrics_port)
        uvloop.run(work(project, settings, place, file))


@app.command()
def api(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8088,
    processes: Annotated[
        int,
        typer.Option(
            help="How many share the port; admin ports count up from TIDEMILL_ADMIN_PORT.",
            min=1,
            max=256,
        ),
    ] = 1,
    member: Annotated[int | None, typer.Option(hidden=True, min=0)] = None,
    told: Annotated[int | None, typer.Option(hidden=True, min=0)] = None,
) -> None:
    """Serve scores over HTTP (needs TIDEMILL_KAFKA and TIDEMILL_REDIS)."""
    with errors_as_exit_codes():
        settings = read_settings()
        log_to_stderr()
        from cli.api_processes import Place, run_processes

        place = Place(host, port, member, told)
        if processes > 1:
            raise typer.Exit(run_processes(file, settings, place, processes))
        from cli.server import run_api

        run_api(file, settings, place)


@app.command()
def plan(file: ProjectFile, as_json: AsJson = False) -> None:
    """Compare a project file with what serves: changes, what to backfill, how long that takes."""
    with errors_as_exit_codes():
        project, settings = prepare(file)
        import uvloop

        from cli.plan import in_words, summary
        from cli.plan import plan as run

        found = uvloop.run(run(project, settings))
        typer.echo(json.dumps(summary(found)) if as_json else in_words(found, file))


@app.command()
def backfill(file: ProjectFile, as_json: AsJson = False) -> None:
    """Make a new declaration's feature state from the archive, while the old one serves.

    Can be run again after it was interrupted. Exit codes: 0 done or nothing to do, 1 failed, 2 a
    mistake in project or settings, 4 another backfill of this state is running.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        import uvloop

        from cli.backfill import backfill as run
        from cli.backfill import in_words, summary

        done = uvloop.run(run(project, settings))
        typer.echo(json.dumps(summary(done)) if as_json else in_words(done, file))


@app.command()
def services() -> None:
    """Run the embedded store and broker until Ctrl-C, and print how to use them.

    The broker forgets its log when it stops; a run that archived needs a new TIDEMILL_HOME.
    """
    with errors_as_exit_codes():
        from cli.services.embedded import Endpoints, run_services
        from cli.services.tansu import SUITABLE

        def announce(endpoints: Endpoints) -> None:
            values = {"kafka": endpoints.kafka, "redis": endpoints.redis} | SUITABLE
            for name, value in values.items():
                typer.echo(f"export TIDEMILL_{name.upper()}={value}")

        run_services(read_settings().home, announce)


@app.command()
def kafka(
    home: Annotated[Path, typer.Option(help="An unpacked Apache Kafka distribution.")],
    data: Annotated[Path | None, typer.Option(help="Where it keeps its log.")] = None,
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 9092,
) -> None:
    """Run a local Apache Kafka (KRaft, one node, loopback) until Ctrl-C."""
    with errors_as_exit_codes():
        from cli.services.kafka import LocalKafka

        directory = data or read_settings().home / "kafka"
        LocalKafka(home, directory, port).run_foreground(
            lambda address: typer.echo(f"export TIDEMILL_KAFKA={address}")
        )


@app.command()
def demo(  # noqa: PLR0913 - a command has as many parameters as options
    months: Annotated[
        str, typer.Option(help="Which months of 2013 to replay, 5-6 to 5-12.")
    ] = "5-6",
    days: Annotated[int | None, typer.Option(help="Stop after so many days.", min=1)] = None,
    step: Annotated[int, typer.Option(help="Minutes of stream time per step.", min=1)] = 60,
    port: Annotated[int, typer.Option(help="The api's port.", min=1, max=65535)] = 8088,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
    serve: Annotated[
        bool, typer.Option(help="Keep serving after the replay, until Ctrl-C.")
    ] = False,
    project: Annotated[
        Path | None, typer.Option(help="A copy of the example's project file, to be edited.")
    ] = None,
) -> None:
    """Replay New York's flights of 2013 through the whole loop and report what it brought."""
    with errors_as_exit_codes():
        from cli.demo.demo import run_demo
        from cli.demo.options import PROJECT_FILE, DemoOptions, parse_months
        from cli.services.foreground import stop_signals

        first, last = parse_months(months)
        options = DemoOptions(
            first, last, days, step, port, json_file, serve, project=project or PROJECT_FILE
        )
        finished = False
        with stop_signals():
            run_demo(options, read_settings())
            finished = True
        if not finished:  # the signal ended the block
            raise typer.Exit(INTERRUPTED)
