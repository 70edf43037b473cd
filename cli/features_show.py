"""The work of `tidemill features show`: one entity as the store has it, for people and scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from cli.store_client import store_client
from cli.wiring import names_of
from features.inspection.look import EntityView, Inspector, moment
from features.plan import compile_plan
from features.redis.store import RedisStore
from tidemill.clock import SystemClock
from tidemill.declaration import Project
from tidemill.errors import DeclarationError, InputError
from tidemill.settings import Settings

SHOWN_TILES = 5
_TIMES = ("from_ms", "to_ms", "time_ms", "as_of_ms", "first_ms")


async def show(
    project: Project, settings: Settings, entity: str, ids: Sequence[str], at: str | None
) -> EntityView:
    """Read one entity. Raises DeclarationError for an entity, id or time that cannot be."""
    plan = compile_plan(project)
    client = store_client(settings)
    try:
        inspector = Inspector(plan, names_of(plan, settings), RedisStore(client))
        return await inspector.look(entity, ids, moment(at, SystemClock().now_ms()))
    except InputError as error:
        raise DeclarationError(error.field, error.found, error.allowed) from None
    finally:
        await client.aclose()


def as_text(view: EntityView) -> str:
    """The view as JSON."""
    return msgspec.json.encode(view).decode()


def in_words(view: EntityView) -> str:
    """The view as lines: values first, then what they come from."""
    return "\n".join(_lines(view))


def _lines(view: EntityView) -> Iterator[str]:
    name = ", ".join(f"{field} {value}" for field, value in view.id.items())
    yield f"{view.entity} ({name}) at {_time(view.at_ms)}"
    if view.newest_ms is None or view.age_ms is None:
        yield "no events in the store"
    else:
        yield f"newest event {_time(view.newest_ms)}, {_age(view.age_ms)}; {view.bytes} bytes"
    width = max(map(len, view.values), default=0)
    for feature, value in view.values.items():
        yield f"  {feature:{width}}  {'missing' if value is None else format(value, '.9g')}"
    for series in view.state:
        yield from _series(series)


def _series(series: dict[str, Any]) -> Iterator[str]:
    what = f"{series['event']}: {series['of'] or 'events'}"
    yield what + (f" where {series['where']}" if series["where"] else "")
    for kind in ("tiles", "last", "decayed", "sketches"):
        found = series.get(kind, [])
        if len(found) > SHOWN_TILES:
            yield f"  {kind}: {len(found)}, the newest {SHOWN_TILES}:"
        shown = found[:SHOWN_TILES] if kind == "last" else found[-SHOWN_TILES:]
        for each in shown:
            yield f"  {kind} " + ", ".join(_part(name, value) for name, value in each.items())


def _part(name: str, value: Any) -> str:
    if name in _TIMES:
        return f"{name.removesuffix('_ms')} {'ever' if value is None else _time(value)}"
    return f"{name} {format(value, '.9g') if isinstance(value, float) else value}"


def _time(ms: int) -> str:
    try:
        time = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(ms: int) -> str:
    seconds = abs(ms) / 1000
    return f"{seconds:,.3f} s {'before' if ms >= 0 else 'after'}"
