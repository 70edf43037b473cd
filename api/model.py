"""The model being served: one immutable value, exchanged by setting one reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from learners.prior import PRIOR, Prior
from tidemill.tasks import BINARY, Task


class Head(Protocol):
    """What scores requests."""

    def predict_both(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and the frozen release's, each (rows,), for vectors (rows, features)."""
        ...


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A verified head with its version; snapshot 0 is the release before anything was learned."""

    release: str
    snapshot: int
    head: Head
    schema: str
    examples: int
    adopted_ms: int

    @property
    def is_prior(self) -> bool:
        """True while there is no model: every score is the prior's."""
        return self.release == PRIOR


class ModelSlot:
    """Holds the model that answers; readers take `current` once per group of requests.

    It begins with the prior. `recent` float32 (requests, features): the newest vectors scored, to
    try new models on.
    """

    __slots__ = ("current", "recent")

    def __init__(self, schema: str, now_ms: int, task: Task = BINARY) -> None:
        self.current = ServedModel(PRIOR, 0, Prior(task), schema, 0, now_ms)
        self.recent: NDArray[np.float32] | None = None

    def adopt(self, model: ServedModel) -> bool:
        """Serve this model from the next group on; True when its release is another than before."""
        before, self.current = self.current, model
        return before.release != model.release
