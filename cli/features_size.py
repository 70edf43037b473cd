"""The work of `tidemill features size`: what a project takes in the store, and would take."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.store_client import store_client
from cli.wiring import names_of
from features.plan import compile_plan
from features.redis.usage import ENTITY, RedisUsage, StoreUsage
from tidemill.declaration import Project
from tidemill.settings import Settings

FLOAT_BYTES = 4
_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The size to project to: so many entities, each of so many floats."""

    entities: int
    floats: int


async def size(project: Project, settings: Settings, limit: int) -> StoreUsage:
    """Walk over at most `limit` keys of the store, with a bar on a terminal."""
    plan = compile_plan(project)
    entities = [each.entity.name for each in plan.entities]
    client = store_client(settings)
    console = Console(stderr=True)
    try:
        with Progress(*_COLUMNS, console=console, disable=not sys.stderr.isatty()) as bars:
            task = bars.add_task("keys", total=None)
            return await RedisUsage(names_of(plan, settings), entities, client).measure(
                limit, lambda done, total: bars.update(task, completed=done, total=total)
            )
    finally:
        await client.aclose()


def summary(found: StoreUsage, outlook: Outlook) -> dict[str, Any]:
    """What was found, for people and scripts; bytes throughout."""
    each = found.projected(FLOAT_BYTES * outlook.floats)
    entities = [usage for usage in found.usages if usage.kind == ENTITY]
    return {
        "kinds": [
            {
                "kind": usage.kind,
                "name": usage.name,
                "keys": usage.keys,
                "bytes_each": round(usage.bytes_each, 1),
                "blob_bytes_each": round(usage.blob_bytes_each, 1),
                "bytes": round(usage.bytes),
            }
            for usage in found.usages
        ],
        "bytes": round(found.bytes),
        "keys_walked": found.walked,
        "keys_in_store": found.keys,
        "store_bytes": found.used_bytes,
        "store_limit_bytes": found.limit_bytes,
        "projection": {
            "entities": outlook.entities,
            "floats": outlook.floats,
            "bytes_each": each,
            "bytes": each * outlook.entities,
            "as_declared": {
                usage.name: round(usage.bytes_each * outlook.entities) for usage in entities
            },
        },
    }


def in_words(found: dict[str, Any]) -> str:
    """The summary as lines."""
    lines = [_line(kind) for kind in found["kinds"]] or ["no keys of this project"]
    limit = found["store_limit_bytes"]
    lines.append(
        f"total {_bytes(found['bytes'])}; the store uses {_bytes(found['store_bytes'])} of "
        f"{_bytes(limit) if limit else 'no limit'}"
    )
    walked, keys = found["keys_walked"], found["keys_in_store"]
    if walked < keys:
        lines.append(f"estimated from {walked:,} of {keys:,} keys")
    plan = found["projection"]
    lines.append(
        f"{plan['entities']:,} entities of {plan['floats']:,} floats would take "
        f"{_bytes(plan['bytes'])} ({plan['bytes_each']:,} bytes each)"
    )
    lines += [
        f"{plan['entities']:,} of {name} as declared would take {_bytes(amount)}"
        for name, amount in plan["as_declared"].items()
    ]
    return "\n".join(lines)


def _line(kind: dict[str, Any]) -> str:
    name = f"{kind['kind']} {kind['name']}".strip()
    line = f"{name}: {kind['keys']:,} keys, {kind['bytes_each']:,.0f} bytes each"
    if kind["blob_bytes_each"] < kind["bytes_each"]:
        line += f" ({kind['blob_bytes_each']:,.0f} of them the value)"
    return f"{line}, {_bytes(kind['bytes'])}"


def _bytes(amount: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1_000:
            return f"{amount:.3g} {unit}" if unit != "bytes" else f"{amount:.0f} bytes"
        amount /= 1_000
    return f"{amount:,.3g} TB"
