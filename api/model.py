"""The model being served: one immutable value, exchanged by setting one reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learners.tree_head import TreeHead


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A verified head with its version; snapshot 0 is the release before anything was learned."""

    release: str
    snapshot: int
    head: TreeHead
    schema: str
    examples: int
    adopted_ms: int


class ModelSlot:
    """Holds the model that answers; readers take `current` once per group of requests.

    `recent` float32 (requests, features): the newest vectors scored, to try new models on.
    """

    __slots__ = ("current", "recent")

    def __init__(self) -> None:
        self.current: ServedModel | None = None
        self.recent: NDArray[np.float32] | None = None

    def adopt(self, model: ServedModel) -> bool:
        """Serve this model from the next group on; True when its release is another than before."""
        before, self.current = self.current, model
        return before is None or before.release != model.release
