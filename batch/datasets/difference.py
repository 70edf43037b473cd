"""What separates two datasets, by their manifests: rule, rows, classes, and how features moved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from batch.datasets.manifest import QUANTILES, DatasetManifest, FeatureStatistics

PSI_BINS = 10
DRIFTED = 0.25
"""A population stability index above which a feature has moved much (Siddiqi, Credit Risk
Scorecards, 2006, chapter 8); below 0.1 it has not."""
_LEAST_SHARE = 1e-4  # an empty bin counts as this


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature in two datasets.

    `psi` is the population stability index over the tenths of the first; `shift` is the difference
    of the means in standard deviations of the first; `missing` the change of the share that is
    missing. None where one has no values.
    """

    name: str
    psi: float | None
    shift: float | None
    missing: float


@dataclass(frozen=True, slots=True)
class DatasetDifference:
    """What separates two datasets.

    `rule` has what the rules set differently, first and second; `features` of both, those that
    moved most first; `added` and `removed` are features that only the second or first has.
    """

    first: str
    second: str
    rule: dict[str, tuple[Any, Any]]
    rows: tuple[int, int]
    classes: dict[str, tuple[int, int]]
    from_ms: tuple[int, int]
    to_ms: tuple[int, int]
    schema: tuple[str, str]
    added: list[str]
    removed: list[str]
    features: list[FeatureDrift]

    @property
    def drifted(self) -> list[str]:
        """The features that moved much."""
        return [each.name for each in self.features if (each.psi or 0) > DRIFTED]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self) | {"drifted": self.drifted}


def compare_datasets(first: DatasetManifest, second: DatasetManifest) -> DatasetDifference:
    """Compare two manifests of one project; reads no rows."""
    before = {each.name: each for each in first.statistics}
    after = {each.name: each for each in second.statistics}
    features = [_drift(before[name], after[name]) for name in before if name in after]
    rules = [{**m.rule, "bad_case_rules": m.bad_cases or None} for m in (first, second)]
    return DatasetDifference(
        first=first.id,
        second=second.id,
        rule={
            name: (rules[0].get(name), rules[1].get(name))
            for name in sorted(rules[0].keys() | rules[1].keys())
            if rules[0].get(name) != rules[1].get(name)
        },
        rows=(first.rows, second.rows),
        classes={
            label: (first.classes.get(label, 0), second.classes.get(label, 0))
            for label in sorted(first.classes.keys() | second.classes.keys())
        },
        from_ms=(first.from_ms, second.from_ms),
        to_ms=(first.to_ms, second.to_ms),
        schema=(first.schema, second.schema),
        added=[name for name in after if name not in before],
        removed=[name for name in before if name not in after],
        features=sorted(features, key=lambda each: (-(each.psi or 0), each.name)),
    )


def _drift(first: FeatureStatistics, second: FeatureStatistics) -> FeatureDrift:
    shares = [each.missing / max(each.missing + each.count, 1) for each in (first, second)]
    shift = None
    if first.mean is not None and second.mean is not None and first.std:
        shift = (second.mean - first.mean) / first.std
    return FeatureDrift(first.name, stability_index(first, second), shift, shares[1] - shares[0])


def stability_index(first: FeatureStatistics, second: FeatureStatistics) -> float | None:
    """The population stability index; of categories over the commonest values of both."""
    if first.categorical and second.categorical:
        values = first.top.keys() | second.top.keys()
        if not first.top or not second.top:
            return None
        shares = [
            np.array([*(top.get(value, 0.0) for value in sorted(values)), 1 - sum(top.values())])
            for top in (first.top, second.top)
        ]
        return _stability(*shares)
    if not first.quantiles or not second.quantiles:
        return None
    edges = np.unique(np.interp(np.arange(1, PSI_BINS) / PSI_BINS, QUANTILES, first.quantiles))
    return _stability(*(_shares(each, edges) for each in (first, second)))


def _shares(of: FeatureStatistics, edges: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What lies in each bin, by the quantiles: their steps, straight lines between."""
    values = np.array(of.quantiles)
    # Of equal values the last step counts: all of them are at or below the edge.
    last = np.append(values[1:] != values[:-1], True)
    below = np.interp(edges, values[last], np.array(QUANTILES)[last], left=0.0)
    found: np.ndarray[Any, Any] = np.diff(below, prepend=0.0, append=1.0)
    return found


def _stability(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    expected, found = (np.maximum(shares, _LEAST_SHARE) for shares in (first, second))
    return float(((found - expected) * np.log(found / expected)).sum())
