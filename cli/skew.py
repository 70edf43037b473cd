"""The skew command: recompute served vectors from the archive, say how many differ, and alert."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from cli.compute import rules
from tidemill.durations import duration_ms
from tidemill.errors import SettingsError
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.skew import SkewReport
    from features.plan import FeaturePlan

SKEWED = 6
ALERT = "skew"
SETTLING_MS = 60_000
"""So long after a prediction its events are in the archive, with the default settings."""


def skew(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    share: Annotated[float, typer.Option(help="How many predictions to look at.")] = 0.01,
    since: Annotated[str, typer.Option(help="Requests of the last so long.")] = "1h",
    limit: Annotated[float, typer.Option(help="Alert above this rate of mismatches.")] = 0.001,
    every: Annotated[
        str | None, typer.Option(help="Look again and again, each time at what is new.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute served vectors from the archived events and name what made them differ.

    Exit codes: 0 not above the limit, 1 failed, 2 a mistake in project or settings, 6 above it.
    """
    with errors_as_exit_codes():
        for name, value in (("--share", share), ("--limit", limit)):
            if not 0 <= value <= 1:
                raise SettingsError(f"{name}: found {value}; allowed: a number from 0 to 1")
        project, settings = prepare(file)
        from features.plan import compile_plan

        plan = compile_plan(project)
        skewed, began_ms = False, 0
        for report in _looks(plan, settings, share, (since, every)):
            skewed, now = report.rate > limit, time.time_ns() // 1_000_000
            found = summary(report, share, limit, now)
            typer.echo(json.dumps(found) if as_json else _in_words(found))
            alert = skewed != bool(began_ms)
            began_ms = (began_ms or now) if skewed else began_ms
            asyncio.run(_publish(plan, settings, found, began_ms if alert else 0))
            began_ms = began_ms if skewed else 0
        raise typer.Exit(SKEWED if skewed else 0)


def _looks(
    plan: FeaturePlan, settings: Settings, share: float, spans: tuple[str, str | None]
) -> Iterator[SkewReport]:
    """One look, or one after the other until interrupted; each prediction is looked at once."""
    from batch.skew import Sample, measure_skew

    since, every = spans
    since_ms = duration_ms("--since", since)
    every_ms = 0 if every is None else duration_ms("--every", every)
    settling, seen = SETTLING_MS + 2 * settings.archive_interval_ms, 0
    while True:
        now = time.time_ns() // 1_000_000
        sample = Sample(share, now - since_ms, now - settling, seen)
        yield measure_skew(settings.home, plan, rules(settings), sample)
        if not every_ms:
            return
        seen = now - settling
        time.sleep(every_ms / 1000)


def summary(report: SkewReport, share: float, limit: float, now_ms: int) -> dict[str, Any]:
    """A look as it is printed and published."""
    found = {"looked_ms": now_ms, "share": share, "limit": limit, "rate": report.rate}
    return found | asdict(report)


def _in_words(found: dict[str, Any]) -> str:
    lines = [
        "{mismatched} of {checked} vectors differ ({rate:.4%}; limit {limit:.4%}); {equal} are "
        "equal bit for bit, {rounding} up to rounding, {skipped} cannot be compared".format_map(
            found
        )
    ]
    lines += [f"  {cause}: {count}" for cause, count in found["causes"].items()]
    lines += [
        "  for example {id} ({key}): {cause}: {names}".format(
            **each, names=", ".join(each["features"][:5])
        )
        for each in found["shown"][:3]
    ]
    return "\n".join(lines)


async def _publish(
    plan: FeaturePlan, settings: Settings, found: dict[str, Any], began_ms: int
) -> None:
    """Put the result where the worker finds it, and an alert that began then on its topic.

    Without the address of a store or a broker it is only printed.
    """
    from cli.broker import broker_of
    from cli.store_client import store_client
    from cli.wiring import connect_producer, names_of
    from features.redis.store import RedisStore
    from tidemill.topics import ALERTS
    from tidemill.wire import Alert

    names = names_of(plan, settings)
    if settings.redis is not None:
        client = store_client(settings)
        try:
            short = {name: value for name, value in found.items() if name != "shown"}
            await RedisStore(client).write([(names.skew(), json.dumps(short).encode())])
        finally:
            await client.aclose()
    if began_ms and settings.kafka is not None:
        state: Literal["began", "ended"] = "began" if found["rate"] > found["limit"] else "ended"
        message = _in_words(found).splitlines()[0]
        alert = Alert(ALERT, "vectors", state, message, found["looked_ms"], began_ms)
        async with connect_producer(broker_of(settings), names) as producer:
            await producer.send_many(ALERTS, [(ALERT.encode(), alert.encode())], 0)
