"""An embedding net that learns online: a block of examples at a time, touched rows only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.learner import Encoded, Frozen, Scores, Vectors, checked_labels, checked_weights
from learners.net.backward import learn_block
from learners.net.frozen_net import FrozenNet, shape_of
from learners.net.loss import predictions_of
from learners.net.moments import no_moments
from learners.net.network import Network
from learners.net.shape import NetShape
from learners.net.state import FORMAT, NetState, little_endian
from learners.net.table import FIRST_SUM, EmbeddingTable, Turnover
from learners.net.waiting import Waiting
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import EmbeddingNet as Settings
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

# AdaGrad's sums begin as if a release's net had seen this share of its training, and at least some
# dozen examples; so does a net that corrects another release. On 40 000 synthetic examples, the
# second half of them turned about, shares of .1, .3 and 1 end within .001 in log-loss; one example
# in a block of its own moves a score by at most .058, .039 and .023.
PRIME_SHARE = 0.3
DENSE_SUM = 4.0
_MOST_ROWS = 2**31 - 1


class EmbeddingNet:
    """Numbers and embedded ids through a small net; what it learned is added to the release.

    From a net of its own shape, or of one with fewer units in its layers (a pruned release), it
    takes over shape, weights, embeddings and optimizer state. From any other release it takes the
    raw score as a fixed offset, and the last layer starts at 0. Step sizes: Duchi, Hazan and Singer
    (JMLR 2011), diagonal AdaGrad, on the sums of a block's slopes. Ids: Liu et al., "Monolith"
    (2022, arXiv:2209.07663), section 2.1.

    Examples are learned in blocks counted by their own number; those of an incomplete block wait in
    the state, and predictions are made with what whole blocks taught. An example of weight 0 is
    predicted and forgotten. One thread may learn while nobody else uses the same learner.
    """

    def __init__(self, release: Frozen, settings: Settings, shape: NetShape) -> None:
        self.release, self.settings, self.shape = release, settings, shape
        self.task: Task = release.task
        same = isinstance(release, FrozenNet) and release.network.shape == shape
        self._start = release.network if same and isinstance(release, FrozenNet) else None
        self.network = (
            _primed(self._start, settings) if self._start else first_network(shape, settings)
        )
        self._first_dense = self.network.dense.copy()
        self.given = self._published = 0
        self._waiting = Waiting.none(settings.block, len(shape.features), shape.outputs)

    @classmethod
    def warm_start(cls, release: Frozen, settings: Settings, schema: FeatureSchema) -> EmbeddingNet:
        """A net that predicts what the release predicts, primed to move little at first."""
        shape = shape_of(release.task, schema, settings.embedding, settings.hidden)
        if isinstance(release, FrozenNet) and release.network.shape.is_pruned(shape):
            shape = release.network.shape
        return cls(release, settings, shape)

    @classmethod
    def restore(
        cls, release: Frozen, settings: Settings, schema: FeatureSchema, state: Encoded
    ) -> EmbeddingNet:
        """The net of this `snapshot()`. Raises ArtifactError when damaged or of another release."""
        learner = cls.warm_start(release, settings, schema)
        saved = NetState.decode(state, release.digest, str(learner.shape))
        if saved.since >= 0:
            raise ArtifactError("net state: found changes; allowed: a snapshot")
        table = learner.network.table
        learner.network.table = EmbeddingTable(table.columns, table.width, table.turnover)
        learner._set(saved)
        return learner

    @property
    def corrects(self) -> Frozen | None:
        """The release whose raw score it adds to; None where its weights are all there is."""
        return None if self._start else self.release

    @property
    def learned(self) -> int:
        """How many examples were learned: those of whole blocks."""
        return self.given - self._waiting.count

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities or values."""
        vectors = self.network.checked(vectors)
        return self._predictions(self._offsets(vectors) + self.network.raw_many(vectors))

    def predict_both(self, vectors: Vectors) -> tuple[Scores, Scores]:
        """`predict_many` and what the frozen release predicts."""
        vectors = self.network.checked(vectors)
        if self._start:
            return self.predict_many(vectors), self.release.predict_many(vectors)
        offsets = self._offsets(vectors)
        own = self.network.raw_many(vectors)
        return self._predictions(offsets + own), self._predictions(offsets)

    def learn_many(
        self,
        vectors: Vectors,
        labels: NDArray[np.generic],
        weights: NDArray[np.float64] | None = None,
    ) -> Scores:
        """Predict, then learn; returns the predictions before learning.

        Raises ValueError, and learns nothing, for labels that the task does not have and for bad
        weights.
        """
        vectors = self.network.checked(vectors)
        outcomes = checked_labels(self.task, labels, len(vectors))
        importances = checked_weights(weights, len(vectors))
        raw = np.empty((len(vectors), self.shape.outputs))
        offsets = self._offsets(vectors)
        counted = np.cumsum(importances > 0)
        start = 0
        while start < len(vectors):
            before = counted[start - 1] if start else 0
            goal = before + max(1, self.settings.block - self._waiting.count)
            end = min(int(np.searchsorted(counted, goal)) + 1, len(vectors))
            part = slice(start, end)
            some = (vectors[part], outcomes[part], importances[part], offsets[part])
            raw[part] = self._take(*some, full=bool(counted[end - 1] == goal))
            start = end
        return self._predictions(raw)

    def _take(
        self,
        vectors: Vectors,
        labels: NDArray[np.float64],
        weights: NDArray[np.float64],
        offsets: NDArray[np.float64],
        full: bool,
    ) -> NDArray[np.float64]:
        """Take in rows up to the end of a block, which is `full` then; their raw scores before."""
        heavy = weights > 0
        before = self.learned
        self.given += int(heavy.sum())
        if full and heavy.all():
            block = self._waiting.followed_by(vectors, labels, weights, offsets)
            raw = learn_block(self.network, self.settings.learning_rate, *block, before)
            self._waiting.count = 0
            return raw[len(raw) - len(vectors) :]
        raw = offsets + self.network.raw_many(vectors)
        self._waiting.add(vectors[heavy], labels[heavy], weights[heavy], offsets[heavy])
        if full:
            learn_block(self.network, self.settings.learning_rate, *self._waiting.rows(), before)
            self._waiting.count = 0
        return raw

    def _offsets(self, vectors: Vectors) -> NDArray[np.float64]:
        shape = (len(vectors), self.shape.outputs)
        return self.corrects.raw_many(vectors).reshape(shape) if self.corrects else np.zeros(shape)

    def _predictions(self, raw: NDArray[np.float64]) -> Scores:
        return predictions_of(self.task, self.network.scores(raw))

    def snapshot(self) -> bytes:
        """Everything learned, as bytes; the same state gives the same bytes."""
        return self._state(since=-1).encode()

    def changes(self) -> bytes:
        """What was touched since the last call: those rows, the layers and what waits."""
        state = self._state(self._published).encode()
        self._settle()
        return state

    def apply(self, changes: Encoded) -> None:
        """Bring a copy of the state of the last `changes()` up to these.

        Raises ArtifactError when they are damaged or begin elsewhere.
        """
        saved = NetState.decode(changes, self.release.digest, str(self.shape))
        if saved.since != self.given:
            raise ArtifactError(
                f"net changes: found those since example {saved.since}; allowed: {self.given}"
            )
        self._set(saved)

    def _settle(self) -> None:
        self.network.table.settle()
        self._published = self.given

    def _state(self, since: int) -> NetState:
        network, table = self.network, self.network.table
        whole = since < 0
        rows = table.all_rows() if whole else table.changed_rows()
        waiting = table.all_candidates() if whole else table.changed_candidates()
        vectors, labels, weights, offsets = self._waiting.rows()
        return NetState(
            format=FORMAT,
            release=self.release.digest,
            shape=str(self.shape),
            since=since,
            given=self.given,
            scale=network.scale,
            dense=little_endian(network.dense),
            sums=little_endian(network.sums),
            moments=little_endian(network.moments),
            row_numbers=little_endian(rows.numbers),
            row_keys=little_endian(rows.keys),
            row_touched=little_endian(rows.touched),
            row_values=little_endian(rows.values),
            candidates=little_endian(waiting.keys),
            counts=little_endian(waiting.counts),
            candidates_whole=waiting.whole,
            vectors=little_endian(vectors),
            labels=little_endian(labels),
            weights=little_endian(weights),
            offsets=little_endian(offsets),
        )

    def _set(self, saved: NetState) -> None:
        network, shape, table = self.network, self.shape, self.network.table
        length = (shape.dense_length,)
        dense, sums = (saved.array(name, "<f4", length) for name in ("dense", "sums"))
        moments = saved.array("moments", "<f8", network.moments.shape)
        rows = saved.rows(table.columns, table.width, _MOST_ROWS)
        candidates = saved.waiting()
        block = Waiting.read(saved, self.settings.block, len(shape.features), shape.outputs)
        if not (sums > 0).all():
            raise ArtifactError("net state sums: found one that is not above 0")
        network.dense[:], network.sums[:], network.moments[:] = dense, sums, moments
        network.scale = saved.scale
        network.rescale()
        table.put(rows, candidates)
        self._waiting, self.given = block, saved.given
        self._settle()

    def clone(self) -> EmbeddingNet:
        """A net of its own with the same state, on the same release."""
        made = object.__new__(EmbeddingNet)
        made.__dict__.update(self.__dict__)
        made.network, made._waiting = self.network.copy(), self._waiting.copy()
        return made

    def update_norm(self) -> float:
        """The Euclidean distance of layers and embeddings from those they started with."""
        table = self.network.table
        start = self._start.table if self._start else None
        dense = (self.network.dense - self._first_dense).astype(np.float64)
        return float(np.sqrt((dense**2).sum() + table.squared_distance(start)))


def _turnover(settings: Settings) -> Turnover:
    return Turnover(settings.admit_after, settings.expires_after, settings.max_rows, settings.seed)


def first_network(shape: NetShape, settings: Settings) -> Network:
    """A network that outputs 0."""
    dense = shape.first_weights(settings.seed)
    table = EmbeddingTable(len(shape.categorical), shape.embedding, _turnover(settings))
    scale = 0.0 if shape.task.kind == "regression" else 1.0
    sums = np.full_like(dense, DENSE_SUM)
    return Network(shape, dense, sums, table, no_moments(len(shape.numeric_places)), 0.0, scale)


def _primed(start: Network, settings: Settings) -> Network:
    """A release's network with the sums of a share of its training."""
    network = start.copy()
    network.sums[:] = np.maximum(PRIME_SHARE * start.sums, DENSE_SUM)
    sums = network.table.rows[:, network.table.width :]
    sums[:] = np.maximum(PRIME_SHARE * sums, FIRST_SUM)
    network.table.turnover = _turnover(settings)
    return network
