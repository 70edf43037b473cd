"""A linear model as batch made it: weights, and how certain batch was of each."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores, Vectors
from learners.linear.compact import CompactRelease, every_slot
from learners.linear.encoding import Encoder
from learners.linear.kernels import Rule
from learners.linear.table import Table, outputs_of
from tidemill.errors import ArtifactError, DeclarationError
from tidemill.tasks import Task

_ANY_RULE = Rule(ftrl=False, alpha=1.0, beta=1.0, l1=0.0, l2=0.0, max_step=math.inf)


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="linear-1"):
    """A linear release as msgpack: little-endian arrays in the order of the encoder's slots.

    `moments` float64 (columns, 3), `keys` uint64 (categories,), `weights` and `evidence` float64
    (slots, outputs): what the squared gradients of the training rows add up to in expectation.
    `unit` is what raw values are measured in: 1 for log-odds, else how far predictions spread.
    """

    task: Literal["binary", "regression", "multiclass"]
    classes: int
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    hash_bits: int | None
    unit: float
    moments: bytes
    keys: bytes
    weights: bytes
    evidence: bytes


class FrozenLinear:
    """A linear release, read only; safe to use from several threads."""

    def __init__(self, release: Release, digest: str) -> None:
        self.task, self.digest = Task(release.task, release.classes), digest
        self.features, self.categorical = release.features, release.categorical
        self.unit = release.unit
        moments = _array(release.moments, "moments", (len(self.features), 3))
        keys = np.frombuffer(release.keys, "<u8").astype(np.uint64)
        if len(np.unique(keys)) != len(keys):
            raise ArtifactError("linear release: keys: found one twice; allowed: each once")
        self._encoder = Encoder(self.features, self.categorical, release.hash_bits, moments, keys)
        shape = (self._encoder.slots, outputs_of(self.task))
        self.weights = _array(release.weights, "weights", shape)
        self.evidence = _array(release.evidence, "evidence", shape)
        if (self.evidence < 0).any() or (moments[:, [0, 2]] < 0).any() or not self.unit > 0:
            raise ArtifactError("linear release: found a sum of squares below 0")
        self._table = Table(self.task, _ANY_RULE, shape[0], self.weights)

    @classmethod
    def parse(cls, data: bytes) -> FrozenLinear:
        """Read what `Release` or `CompactRelease` says. Raises ArtifactError for anything else."""
        try:
            release = msgspec.msgpack.decode(data, type=Release | CompactRelease)
            hashed = release.hash_bits
            if hashed is not None and not 1 <= hashed <= MOST_HASH_BITS:
                raise ValueError(f"hash_bits: found {hashed}; allowed: 1 to {MOST_HASH_BITS}")
            if isinstance(release, CompactRelease):
                release = _whole(release)
            return cls(release, hashlib.sha256(data).hexdigest())
        except (msgspec.DecodeError, ValueError, DeclarationError) as error:
            raise ArtifactError(f"linear release: {error}") from error

    def encoder(self) -> Encoder:
        """An encoder of one's own that knows what batch knew."""
        return self._encoder.clone()

    def terms(self, vectors: Vectors) -> NDArray[np.float64]:
        """What the bias and then each feature adds to the one raw score, (rows, 1 + features)."""
        return self._table.terms(self._encoder.encode(vectors)).reshape(len(vectors), -1)

    def raw_many(self, vectors: Vectors) -> Scores:
        """Log-odds or values (rows,), or for several classes log-weights (rows, classes)."""
        return shaped(self._table.raw_many(self._encoder.encode(vectors)), self.task)

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities or values."""
        raws = self._table.raw_many(self._encoder.encode(vectors))
        return shaped(self._table.link(raws), self.task)


MOST_HASH_BITS = 26
"""2^26 slots are 2 GiB of weights."""


def _whole(release: CompactRelease) -> Release:
    outputs = outputs_of(Task(release.task, release.classes))
    most = 1 + 2 * len(release.features) + len(release.keys) // 8 + (1 << (release.hash_bits or 0))
    weights, evidence = every_slot(release, outputs, most)
    return Release(
        task=release.task, classes=release.classes, features=release.features,
        categorical=release.categorical, hash_bits=release.hash_bits, unit=release.unit,
        moments=release.moments, keys=release.keys, weights=weights, evidence=evidence,
    )  # fmt: skip


def shaped(scores: Scores, task: Task) -> Scores:
    """(rows, outputs) as the task has it: (rows,) where there is one output."""
    return scores if task.kind == "multiclass" else scores[:, 0]


def _array(data: bytes, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    numbers = np.frombuffer(data, "<f8").astype(np.float64)
    if numbers.size != shape[0] * shape[1]:
        raise ArtifactError(
            f"linear release: {name}: found {numbers.size} numbers; allowed: {shape[0] * shape[1]}"
        )
    if not np.isfinite(numbers).all():
        raise ArtifactError(f"linear release: {name}: found numbers that are not finite")
    return numbers.reshape(shape)
