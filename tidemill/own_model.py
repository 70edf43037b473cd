"""What a trainer of your own must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

RawModel = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""From vectors (rows, features) to log-odds or values (rows,); several threads may call it."""


class ModelMaker(Protocol):
    """Trains a model and reads it again; what `OwnModel.make` returns.

    The code is your project's, so what it reads back must be data: no pickle.
    """

    def train(
        self,
        vectors: NDArray[np.float32],
        labels: NDArray[np.float64],
        weights: NDArray[np.float64],
        schema: FeatureSchema,
        task: Task,
    ) -> bytes:
        """The bytes of a model of `vectors` (rows, features), NaN where a value is missing.

        `labels` (rows,) are 0 or 1, or values; `weights` (rows,) say how many examples each stands
        for. The same rows should give the same bytes.
        """
        ...

    def load(self, model: bytes) -> RawModel:
        """The model of these bytes. Whatever it raises says that they are damaged."""
        ...
