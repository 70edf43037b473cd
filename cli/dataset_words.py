"""What the dataset commands print: for scripts, and for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from batch.datasets.difference import DRIFTED, DatasetDifference
from batch.datasets.manifest import DatasetManifest, FeatureStatistics
from batch.datasets.written import moment

_SHOWN = 20


def as_data(manifest: DatasetManifest) -> Any:
    """The whole manifest as plain values."""
    return msgspec.to_builtins(manifest)


def summary(manifest: DatasetManifest) -> dict[str, Any]:
    """A dataset on one line."""
    return {
        "id": manifest.id, "created_ms": manifest.created_ms, "rows": manifest.rows,
        "classes": manifest.classes, "from_ms": manifest.from_ms, "to_ms": manifest.to_ms,
        "schema": manifest.schema, "rule": manifest.rule, "parent": manifest.parent,
    }  # fmt: skip


def listed(found: list[dict[str, Any]]) -> str:
    """A line for each dataset."""
    if not found:
        return "no dataset: tidemill dataset build makes one"
    return "\n".join(
        f"{each['id']}  damaged: {each['damaged']}"
        if "damaged" in each
        else f"{each['id']}  {each['rows']} rows ({_counts(each['classes'])})  requests "
        f"{moment(each['from_ms'])} to {moment(each['to_ms'])}  {_rule(each['rule'])}"
        for each in found
    )


def in_words(manifest: DatasetManifest, features: bool) -> str:
    """A dataset in a few lines, with a line for each feature where asked."""
    split, left_out = manifest.split, manifest.left_out
    lines = [
        f"dataset {manifest.id}: {manifest.rows} rows ({_counts(manifest.classes)}), "
        f"{len(manifest.features)} features of schema {manifest.schema}",
        f"  rule: {_rule(manifest.rule)}" + (f"; of {manifest.parent}" if manifest.parent else ""),
        f"  requests {moment(manifest.from_ms)} to {moment(manifest.to_ms)}; labels are final "
        f"before {moment(manifest.matured_ms)}",
        f"  train {split.train} | gap {split.gap} | holdout {split.holdout}, from "
        f"{moment(split.start_ms)}",
        f"  backfilled {manifest.backfilled}, left out {sum(left_out.values())}"
        + "".join(f", {count} without {name}" for name, count in left_out.items())
        + f", filtered out {manifest.dropped}",
        "  " + (", ".join(f"{k} {v}" for k, v in manifest.offsets.items()) or "nothing live"),
        *(f"  warning: {each}" for each in manifest.warnings),
    ]
    return "\n".join([*lines, *(map(_feature, manifest.statistics) if features else ())])


def compared(found: DatasetDifference) -> str:
    """What separates two datasets, those features that moved most first."""
    lines = [f"{found.first} → {found.second}", f"  rows {found.rows[0]} → {found.rows[1]}"]
    lines += [f"  label {name}: {a} → {b}" for name, (a, b) in found.classes.items()]
    spans = zip(found.from_ms, found.to_ms, strict=True)
    lines += ["  requests " + " → ".join(f"{moment(a)} to {moment(b)}" for a, b in spans)]
    lines += [f"  rule {name}: {a} → {b}" for name, (a, b) in found.rule.items()]
    lines += [f"  added feature {name}" for name in found.added]
    lines += [f"  removed feature {name}" for name in found.removed]
    lines += [
        f"  {each.name}: psi {_number(each.psi)}, mean {_number(each.shift)} deviations, missing "
        f"{each.missing:+.2%}" + (" (moved)" if (each.psi or 0) > DRIFTED else "")
        for each in found.features[:_SHOWN]
    ]
    more = len(found.features) - _SHOWN
    return "\n".join([*lines, f"  and {more} features that moved less"] if more > 0 else lines)


def exported(manifest: DatasetManifest, out: Path) -> dict[str, Any]:
    """What was written where."""
    return {
        "file": str(out), "dataset": manifest.id, "rows": manifest.rows,
        "positives": manifest.classes.get("1", 0), "features": len(manifest.features),
        "schema": manifest.schema, "backfilled": manifest.backfilled,
        "left_out": sum(manifest.left_out.values()),
    }  # fmt: skip


def _feature(each: FeatureStatistics) -> str:
    if each.mean is None:
        return f"  {each.name}: no value in {each.missing} rows"
    middle = each.quantiles[len(each.quantiles) // 2] if each.quantiles else None
    distinct = f", {each.distinct} values" if each.distinct is not None else ""
    return (
        f"  {each.name}: mean {_number(each.mean)}, std {_number(each.std)}, from "
        f"{_number(each.min)} by {_number(middle)} to {_number(each.max)}, missing "
        f"{each.missing}{distinct}"
    )


def _counts(classes: dict[str, int]) -> str:
    return ", ".join(f"{count} of {label}" for label, count in classes.items()) or "numbers"


def _rule(rule: dict[str, Any]) -> str:
    found = [f"{name} {value}" for name, value in rule.items() if name not in _IN_WORDS]
    found += [words(rule[name]) for name, words in _IN_WORDS.items() if name in rule]
    return ", ".join(found) or "every labelled prediction"


def _shares(shares: list[dict[str, float]]) -> str:
    return ", ".join(f"{each['share']:g} of label {each['label']:g}" for each in shares)


def _match(match: dict[str, Any]) -> str:
    return f"{match['negatives']:g} negatives for each positive by {', '.join(match['by'])}"


_IN_WORDS: dict[str, Callable[[Any], str]] = {
    "matured": lambda _: "matured",
    "match": _match,
    "shares": _shares,
}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
