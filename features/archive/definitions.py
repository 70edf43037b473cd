"""The declarations of the archive's vectors, kept beside it so that old vectors stay readable."""

from __future__ import annotations

from pathlib import Path

import msgspec

from features.evolution.differences import Definition, compare, define
from features.plan import FeaturePlan
from tidemill.durable import write_whole


def write_definition(home: Path, plan: FeaturePlan, now_ms: int) -> None:
    """Keep what this declaration's vectors mean; does nothing when it is there.

    May block on the disk; raises OSError.
    """
    path = _folder(home, plan.project.name) / f"{plan.schema.hash}.json"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(define(plan, now_ms))))


def read_definitions(home: Path, project: str) -> dict[str, Definition]:
    """What was kept, by schema hash."""
    decoder = msgspec.json.Decoder(Definition)
    paths = sorted(_folder(home, project).glob("*.json"))
    return {path.stem: decoder.decode(path.read_bytes()) for path in paths}


def unchanged(old: Definition, new: Definition) -> list[str]:
    """The features of `new` that an old vector holds with the same meaning."""
    difference = compare(old, new)
    other = {*difference.added, *(change.name for change in difference.changed)}
    for name, attributes in new.features.items():
        reads = attributes.get("reads", "").split()
        if _retyped(old, new, attributes.get("event", "")) or not other.isdisjoint(reads):
            other.add(name)
    return [name for name in new.features if name not in other]


def _retyped(old: Definition, new: Definition, event: str) -> bool:
    """True when a field of the event has another type: its numbers may be others."""
    before, after = old.events.get(event, {}), new.events.get(event, {})
    kinds = [(before[name], after[name]) for name in before if name in after and name != "key"]
    return any(a.removesuffix(" | None") != b.removesuffix(" | None") for a, b in kinds)


def _folder(home: Path, project: str) -> Path:
    return home / "archive" / f"project={project}" / "schemas"
