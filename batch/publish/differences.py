"""What separates two releases: what they were made with and from, how good, and what they use."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batch.compression.gains import shares_of_gain
from learners.release import TREES_FILE
from tidemill.errors import ArtifactError
from tidemill.registry import Manifest, Registry

_PROVENANCE = (
    "schema", "dataset", "run", "parent", "rows", "trained_from_ms", "trained_to_ms", "version",
    "forced",
)  # fmt: skip
Value = float | int | str | None


class ImportanceChange(msgspec.Struct, frozen=True):
    """A feature's share of all gain in both releases' trees; None where it is no feature."""

    feature: str
    before: float | None
    after: float | None


class ReleaseDifferences(msgspec.Struct, frozen=True):
    """What differs, as pairs of before and after; None where there is no such thing.

    `importance` is of two releases of trees, what changed most first, else empty.
    """

    before: str
    after: str
    provenance: dict[str, tuple[Value, Value]]
    parameters: dict[str, tuple[Value, Value]]
    metrics: dict[str, tuple[Value, Value]]
    offsets: dict[str, tuple[Value, Value]]
    features_added: list[str]
    features_removed: list[str]
    reordered: bool
    importance: list[ImportanceChange]


def differences(registry: Registry, before: str, after: str) -> ReleaseDifferences:
    """Compare two releases. Raises ArtifactError when one is missing, damaged or not signed."""
    old, new = registry.manifest(before), registry.manifest(after)
    provenance = [{name: getattr(each, name) for name in _PROVENANCE} for each in (old, new)]
    common = set(old.features).intersection(new.features)
    orders = [[name for name in each.features if name in common] for each in (old, new)]
    return ReleaseDifferences(
        before=before,
        after=after,
        provenance=_changed(*provenance),
        parameters=_changed(old.parameters, new.parameters),
        metrics=_changed(old.metrics, new.metrics),
        offsets=_changed(old.offsets, new.offsets),
        features_added=[name for name in new.features if name not in common],
        features_removed=[name for name in old.features if name not in common],
        reordered=orders[0] != orders[1],
        importance=_importance_changes(registry, old, new),
    )


def _changed(
    before: Mapping[str, Value], after: Mapping[str, Value]
) -> dict[str, tuple[Value, Value]]:
    pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _importance_changes(
    registry: Registry, before: Manifest, after: Manifest
) -> list[ImportanceChange]:
    if TREES_FILE not in before.files or TREES_FILE not in after.files:
        return []
    old, new = (importance(registry.read(m, TREES_FILE)) for m in (before, after))
    changes = [ImportanceChange(name, old.get(name), new.get(name)) for name in {**old, **new}]
    changes = [each for each in changes if each.before != each.after]
    return sorted(changes, key=lambda c: (-abs((c.after or 0) - (c.before or 0)), c.feature))


def importance(model: bytes) -> dict[str, float]:
    """Each feature's share of the gain of all splits of a LightGBM model in its text format.

    That is LightGBM's own `feature_importance("gain")`, divided by its sum. Compressed trees do not
    keep it: theirs follows from the leaves. Raises ArtifactError.
    """
    if b"\nleaf_value=" in model and b"\nsplit_gain=" not in model:
        return shares_of_gain(model)
    try:
        head, *trees = model.decode().split("\nTree=")
        names = _values(head, "feature_names")
        gains = dict.fromkeys(names, 0.0)
        for tree in trees:
            splits = zip(_values(tree, "split_feature"), _values(tree, "split_gain"), strict=True)
            for feature, gain in splits:
                gains[names[int(feature)]] += float(gain)
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"model text: {type(error).__name__}: {error}") from error
    total = sum(gains.values())
    return {name: gain / total if total else 0.0 for name, gain in gains.items()}


def _values(block: str, name: str) -> list[str]:
    lines = (line for line in block.splitlines() if line.startswith(f"{name}="))
    return next(lines, "=").split("=", 1)[1].split()
