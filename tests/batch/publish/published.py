"""Releases of a shop without a model worth the name: what the registry needs, and no more."""

from __future__ import annotations

from pathlib import Path

import msgspec

from batch.run import Runs
from tidemill.clock import FakeClock
from tidemill.registry import Manifest, Registry

SCHEMA = "0123456789ab"


def release(registry: Registry, name: str, **changes: object) -> Manifest:
    """Publish a release."""
    manifest = Manifest(
        release=name,
        project=registry.folder.name,
        schema=SCHEMA,
        features=["amount", "hour"],
        created_ms=int(name[1:]) * 1000,
        trained_from_ms=0,
        trained_to_ms=5,
        rows=100,
        offsets={"examples:0": 70, "sequence:0": 70},
        metrics={"gate_candidate_auc": 0.75},
        files={},
        parameters={"trainer": "LightGBM", "leaves": 63},
    )
    return registry.publish(msgspec.structs.replace(manifest, **changes), {"model.txt": b"tree"})


def run(home: Path, project: str = "shop", **notes: str) -> str:
    """A run that ended with what `notes` say; returns its name."""
    made = Runs(home, project).begin("key", FakeClock(1_000), fresh=True)
    outcome = notes.pop("outcome", "published")
    made.note(**notes)
    made.end(outcome)
    return made.id
