"""Gradient-boosted trees from a declaration's settings: the same data gives the same model text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from batch.progress import Progress, Silent
from learners.trees import FrozenTrees
from tidemill.declaration import LightGBM
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, Task

_CHUNK_ROWS = 10_000  # a chunk of leaf numbers is 8 MB at 200 trees, whatever the rows


_LOG = logging.getLogger(__name__)


class _Debug:
    """Takes LightGBM's messages for those who look for them."""

    def info(self, message: str) -> None:
        """Anything it says."""
        _LOG.debug(message)

    def warning(self, message: str) -> None:
        """A warning; what must not happen is checked by the gate."""
        _LOG.debug(message)


class Trainer:
    """Trains models for one task on vectors of one schema; `threads` 0 means all cores."""

    def __init__(
        self,
        settings: LightGBM,
        schema: FeatureSchema,
        threads: int = 0,
        progress: Progress | None = None,
        task: Task = BINARY,
    ) -> None:
        self.settings, self.schema, self.task = settings, schema, task
        self._threads, self._progress = threads, progress or Silent()

    def train(
        self,
        vectors: NDArray[np.float32],
        labels: NDArray[Any],
        stage: str = "train",
        weights: NDArray[np.float64] | None = None,
    ) -> bytes:
        """The text of a model of `vectors` (rows, features) and `labels` (rows,) of the task.

        `weights` (rows,) say how many examples each stands for; None or all 1 is the same.
        """
        # Hashed categories have gaps; it says so from threads that no verbosity setting reaches.
        lightgbm.register_logger(_Debug())
        data = lightgbm.Dataset(
            vectors,
            labels,
            weight=None if weights is None or (weights == 1).all() else weights,
            feature_name=list(self.schema.names),
            categorical_feature=list(self.schema.categorical),
        )
        self._progress.start(stage, self.settings.rounds)
        booster = lightgbm.train(
            self._parameters(), data, self.settings.rounds, callbacks=[self._round]
        )
        text: str = booster.model_to_string()
        return text.encode()

    def _parameters(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "objective": self.task.kind,
            "num_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "min_data_in_leaf": settings.min_rows_per_leaf,
            "feature_fraction": settings.feature_share,
            "seed": settings.seed,
            "num_threads": self._threads,
            # Row-wise or column-wise would otherwise be chosen by a stopwatch, and sums differ.
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }

    def _round(self, environment: object) -> None:
        self._progress.advance()


def score_model(model_text: bytes, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a frozen model says, (rows,), in little memory. Raises ArtifactError for a bad model."""
    frozen = FrozenTrees.parse(model_text)
    starts = range(0, len(vectors), _CHUNK_ROWS)
    chunks = [frozen.predict_many(vectors[start : start + _CHUNK_ROWS]) for start in starts]
    return np.concatenate([np.empty(0), *chunks])


def columns_of(schema: FeatureSchema, names: Sequence[str]) -> tuple[FeatureSchema, list[int]]:
    """The schema of some of the features, and their places in the vector."""
    places = [schema.names.index(name) for name in names]
    categorical = tuple(name for name in schema.categorical if name in names)
    definition = f"{schema.definition}\nonly {', '.join(names)}"
    return FeatureSchema(tuple(names), categorical, definition), places
