"""The flights example with a trainer of its own: an additive model that a person can read.

Every feature has a table of what each range of its values adds to the log-odds of being late,
learned by turns, one feature after the other (Lou, Caruana, Gehrke: Intelligible Models for
Classification and Regression, 2012, 3.2).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

import tidemill as tm
from tidemill.loading import load_project

FLIGHTS = Path(__file__).resolve().parents[1] / "flights" / "project.py"


class Additive:
    """Tables of `bins` ranges for each feature, `passes` times over all features."""

    def __init__(self, bins: int = 32, passes: int = 30, rate: float = 0.3) -> None:
        self.bins, self.passes, self.rate = bins, passes, rate

    def train(self, vectors, labels, weights, schema, task) -> bytes:
        """Newton's step for one table after the other: what its rows' residuals ask for."""
        edges = [self._edges(column) for column in vectors.T]
        ranges = _ranges(vectors, edges)
        share = np.average(labels, weights=weights)
        base = float(np.log(share / (1 - share)))
        raw = np.full(len(labels), base)
        tables = np.zeros((len(edges), self.bins + 1))
        for _ in range(self.passes):
            for feature, places in enumerate(ranges.T):
                p = 1 / (1 + np.exp(-raw))
                residual = np.bincount(places, weights * (labels - p), self.bins + 1)
                certain = np.bincount(places, weights * p * (1 - p), self.bins + 1)
                step = self.rate * residual / (certain + 10)
                tables[feature] += step
                raw += step[places]
        return msgspec.msgpack.encode(
            {"base": base, "edges": [e.tolist() for e in edges], "tables": tables.tolist()}
        )

    def load(self, model: bytes):
        """Looks every value up and adds."""
        said = msgspec.msgpack.decode(model)
        edges, base = [np.array(e) for e in said["edges"]], said["base"]
        tables = np.array(said["tables"])

        def raw(vectors):
            return base + tables[np.arange(len(edges)), _ranges(vectors, edges)].sum(axis=1)

        return raw

    def _edges(self, column) -> np.ndarray:
        known = column[np.isfinite(column)]
        cuts = np.linspace(0, 1, self.bins)[1:-1]
        return np.unique(np.quantile(known, cuts)) if len(known) else np.empty(0)


def _ranges(vectors, edges) -> np.ndarray:
    """Which range each value lies in, (rows, features); 0 is for what is missing."""
    found = np.empty(vectors.shape, np.int64)
    for feature, cuts in enumerate(edges):
        column = vectors[:, feature]
        found[:, feature] = np.where(np.isnan(column), 0, 1 + np.searchsorted(cuts, column))
    return found


# The head of the flights example needs trees; a linear learner goes on from any release.
project = replace(
    load_project(FLIGHTS),
    trainer=tm.OwnModel("additive", Additive, (("bins", 32), ("passes", 30))),
    learner=tm.Linear(learning_rate=0.01),
)
