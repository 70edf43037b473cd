"""The work of `tidemill plan`: what an edited project file changes, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from cli.compute import rules
from cli.wiring import connect_store, names_of
from features.evolution.differences import Attributes, Definition, Difference, compare, define
from features.evolution.state_backfill import StateBackfill
from features.evolution.state_book import StateBook
from features.plan import FeaturePlan, compile_plan
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.settings import Settings

SAMPLE_EVENTS, MOST_LINES = 20_000, 40


@dataclass(frozen=True, slots=True)
class Effort:
    """What a backfill takes: the archive's events, and the rate measured on some of them."""

    events: int
    measured_on: int
    events_per_second: float | None

    @property
    def seconds(self) -> float | None:
        """How long it takes to fold them; None when nothing could be measured."""
        return self.events / self.events_per_second if self.events_per_second else None


@dataclass(frozen=True, slots=True)
class Plan:
    """A project file beside what serves. `old` and `difference` are None before anything does."""

    new: Definition
    old: Definition | None
    difference: Difference | None
    effort: Effort | None

    @property
    def backfill_needed(self) -> bool:
        """True when the store has no state for the file yet."""
        return self.effort is not None


async def plan(project: Project, settings: Settings) -> Plan:
    """Compare; measures how fast the archive can be folded only when a backfill is needed."""
    compiled, clock = compile_plan(project), SystemClock()
    new = define(compiled, clock.now_ms())
    async with connect_store(settings) as (_, store):
        book = StateBook(store, names_of(compiled, settings))
        old, ready = await book.active(), await book.states()
    difference = None if old is None else compare(old, new)
    needed = bool(ready) and new.state not in ready
    return Plan(new, old, difference, _effort(compiled, settings) if needed else None)


def _effort(compiled: FeaturePlan, settings: Settings) -> Effort:
    """Fold a small sample, once it is compiled."""

    def sample(limit: int) -> tuple[StateBackfill, int]:
        read = 0

        def advance(count: int) -> None:
            nonlocal read
            read += count

        made = StateBackfill(settings.home, compiled, rules(settings), SystemClock())
        made.run(advance, limit)
        return made, read

    sample(1)
    started = perf_counter()
    made, read = sample(SAMPLE_EVENTS)
    seconds = perf_counter() - started
    return Effort(made.total, read, round(read / seconds) if read else None)


def summary(found: Plan) -> dict[str, Any]:
    """The plan for scripts."""
    difference, effort, old = found.difference, found.effort, found.old
    changes = {
        change.name: {name: list(both) for name, both in change.attributes.items()}
        for change in (difference.changed if difference else ())
    }
    return {
        "schema": {"from": old.schema if old else None, "to": found.new.schema},
        "state": {"from": old.state if old else None, "to": found.new.state},
        "added": list(difference.added) if difference else list(found.new.features),
        "removed": list(difference.removed) if difference else [],
        "changed": changes,
        "order_changed": difference.order if difference else False,
        "backfill": None
        if effort is None
        else asdict(effort) | {"seconds": effort.seconds, "entities": list(_entities(found))},
    }


def _entities(found: Plan) -> tuple[str, ...]:
    return found.difference.entities if found.difference else tuple(found.new.entities)


def in_words(found: Plan, file: Path) -> str:
    """The plan as a person reads it."""
    return "\n".join(_lines(found, file))


def _lines(found: Plan, file: Path) -> Iterator[str]:
    old, new, difference = found.old, found.new, found.difference
    if old is None or difference is None:
        yield f"nothing serves yet: {len(new.features)} features, all new"
        yield f"next: tidemill worker {file} and tidemill api {file}"
        return
    if old.schema == new.schema and not found.backfill_needed:
        yield f"no change: schema {new.schema} serves"
        return
    yield f"schema {old.schema} → {new.schema}, state {old.state} → {new.state}"
    yield from _shortened([f"  + {n}: {_said(new.features[n])}" for n in difference.added])
    yield from _shortened([f"  - {n}: {_said(old.features[n])}" for n in difference.removed])
    changed = [
        f"  ~ {change.name}: {attribute}: {before} → {after}"
        for change in difference.changed
        for attribute, (before, after) in change.attributes.items()
    ]
    yield from _shortened(changed)
    if difference.order:
        yield "  ~ the order of the features"
    yield from _backfill_lines(found)
    yield from _next_lines(found, file)


def _shortened(lines: list[str]) -> list[str]:
    """A static row may have thousands of features; `--json` names them all."""
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[:MOST_LINES], f"    … and {len(lines) - MOST_LINES:,} more"]


def _said(attributes: Attributes) -> str:
    return ", ".join(f"{name} {value}" for name, value in attributes.items() if name != "reads")


def _backfill_lines(found: Plan) -> Iterator[str]:
    effort = found.effort
    if effort is None:
        yield "state: the store has it, nothing to backfill"
        return
    yield f"state to backfill: {', '.join(_entities(found)) or 'none but its place in the log'}"
    if effort.seconds is None:
        yield "  the archive has no events: it begins empty"
        return
    yield (
        f"  {effort.events:,} archived events, about {max(effort.seconds, 1):,.0f} s "
        f"({effort.events_per_second:,.0f} events/s, measured on {effort.measured_on:,})"
    )


def _next_lines(found: Plan, file: Path) -> Iterator[str]:
    old, new = found.old, found.new
    assert old is not None
    yield "next, while the old version serves:"
    steps = [f"tidemill backfill {file}"] if found.backfill_needed else []
    steps += [
        f"tidemill worker {file}      (beside the old worker)",
        f"tidemill retrain {file}     (the api serves the new schema with this release)",
        "stop the old worker",
    ]
    if old.state != new.state:
        steps.append(f"tidemill features drop {file} {old.state}")
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {step}"
