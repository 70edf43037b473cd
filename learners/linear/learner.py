"""The linear learner: started from trees whose raw score it corrects, or from a linear release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from learners.learner import Encoded, Frozen, Scores, Vectors, checked_labels, checked_weights
from learners.linear import state
from learners.linear.encoding import Encoder
from learners.linear.frozen import FrozenLinear, shaped
from learners.linear.table import Table, rule_of
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import Linear
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

# The optimizer's sums begin as if this share of the training rows had been learned one by one. On
# eight months of flights, labels known when the planes have landed, rate .03, the log-loss of the
# first 10 000 and of all (the frozen release .4447 and .4795) is .4458 and .4696 with a share of 1,
# .4473 and .4707 with .1, .4516 and .4714 with .01. Without the delay less would be better: what
# comes next is then like what was learned just before.
PRIME_SHARE = 1.0
# Beside trees nothing is known of a linear model's certainty: as if so many rows had been learned
# in every slot, at the largest p(1-p) there is. On the same flights at rate .01 the first 10 000
# (the release .4350) are .4343 with 4000, .4349 with 400, .4362 with none; all end at .4620.
PRIME_ROWS = 4000
_LARGEST_VARIANCE = 0.25
FLOOR = 1.0  # in slots that hold next to nothing


class LinearLearner:
    """A linear model that learns online, by FTRL-proximal or AdaGrad; see `Table` and `Encoder`.

    Started from a linear release it holds that release's weights, and its optimizer is in the state
    that keeps them. Started from any other release it adds to the release's raw score (a fixed
    offset) what a linear model of its own says, which is nothing at first.
    """

    def __init__(
        self, encoder: Encoder, table: Table, release: Frozen | None, settings: Linear
    ) -> None:
        self.table, self.encoder = table, encoder
        self._release, self._settings = release, settings
        self._digest = "" if release is None else release.digest
        self._begun = encoder.known
        """Categories the release knows: a state holds those after."""
        self._told = encoder.known
        """Categories told of by the last `changes`."""

    @classmethod
    def cold(cls, settings: Linear, schema: FeatureSchema, task: Task) -> LinearLearner:
        """A learner without a release: nothing known, nothing primed."""
        encoder = Encoder(schema.names, schema.categorical, settings.hash_bits)
        return cls(encoder, Table(task, rule_of(settings, task), encoder.slots), None, settings)

    @classmethod
    def warm_start(cls, release: Frozen, settings: Linear, schema: FeatureSchema) -> LinearLearner:
        """A learner that predicts what the release predicts, primed to move little at first.

        A linear release brings its own `hash_bits`. Raises ArtifactError for one of other features.
        """
        if release.features != schema.names:
            raise ArtifactError(
                f"release: found features {release.features}; allowed: {schema.names}"
            )
        unit = _unit(release)
        rule = rule_of(settings, release.task, unit)
        if isinstance(release, FrozenLinear):
            encoder, weights = release.encoder(), release.weights
            evidence = np.maximum(PRIME_SHARE * release.evidence, FLOOR * unit**2)
            table = Table(release.task, rule, encoder.slots, weights, evidence)
        else:
            encoder = Encoder(schema.names, schema.categorical, settings.hash_bits)
            prior = PRIME_ROWS * _LARGEST_VARIANCE * unit**2
            table = Table(release.task, rule, encoder.slots, evidence=prior)
        return cls(encoder, table, release, settings)

    @classmethod
    def restore(
        cls, release: Frozen, settings: Linear, schema: FeatureSchema, saved: Encoded
    ) -> LinearLearner:
        """The learner of this `snapshot()`. ArtifactError when damaged or of another release.

        Under other settings than it was learned with it goes on from the same weights.
        """
        learner = cls.warm_start(release, settings, schema)
        state.apply(saved, learner._digest, learner.encoder, learner.table)
        learner._told = learner.encoder.known
        return learner

    @property
    def task(self) -> Task:
        """What it predicts."""
        return self.table.task

    @property
    def corrects(self) -> Frozen | None:
        """The release whose raw score it adds to; None where its weights are all there is."""
        return None if isinstance(self._release, FrozenLinear) else self._release

    def terms(self, vectors: Vectors) -> NDArray[np.float64]:
        """What the bias and then each feature adds to the one raw score, (rows, 1 + features)."""
        return self.table.terms(self.encoder.encode(vectors)).reshape(len(vectors), -1)

    def snapshot(self) -> bytes:
        """What differs from the start, as bytes; the same state gives the same bytes."""
        rows = self.table.changed()
        return state.encode(self._digest, self.encoder, self.table, rows, self._begun)

    def changes(self) -> bytes:
        """The weights touched since the last call, or since it was made; see `apply`."""
        rows, known = self.table.take_touched(), self._told
        self._told = self.encoder.known
        return state.encode(self._digest, self.encoder, self.table, rows, known)

    def apply(self, changes: Encoded) -> None:
        """Bring a copy of the state as it was at the last `changes` up to these.

        Raises ArtifactError, changing nothing, when they do not fit.
        """
        state.apply(changes, self._digest, self.encoder, self.table)
        self._told = self.encoder.known

    def clone(self) -> Self:
        """A learner of its own with the same state, on the same release."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.table, twin.encoder = self.table.clone(), self.encoder.clone()
        return twin

    def update_norm(self) -> float:
        """The Euclidean distance of its weights from those it started with."""
        return self.table.update_norm()

    def merge(self, others: Sequence[Self]) -> None:
        """Take in what others learned since all were cloned from this one, or were started alike.

        Claimed: what each learned counts once, by its share of the evidence, so that a slot which
        one learner alone has seen is that learner's. It is not what one learner would have become
        that had seen all examples in one order.
        """
        if not others:
            return
        for other in others:
            self.encoder.add(other.encoder.keys)
        self.table.grow(self.encoder.slots)
        rows = [
            other.table.rows_at(self.encoder.places(other.encoder), self.table) for other in others
        ]
        self.table.merge(rows, self.table.padded(others[0].table.fork))
        self.encoder.merge([other.encoder for other in others])

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities or values, (rows,) or (rows, classes)."""
        return self.predict_both(vectors)[0]

    def predict_both(self, vectors: Vectors) -> tuple[Scores, Scores]:
        """`predict_many` and what the frozen release predicts, which is asked once."""
        offsets = self._offsets(vectors)
        raws = self.table.raw_many(self.encoder.encode(vectors), offsets)
        if offsets is None:
            if self._release is None:
                baselines = self.table.link(np.zeros_like(raws))
                return shaped(self.table.link(raws), self.task), shaped(baselines, self.task)
            return shaped(self.table.link(raws), self.task), self._release.predict_many(vectors)
        baselines = self.table.link(offsets.reshape(raws.shape))
        return shaped(self.table.link(raws), self.task), shaped(baselines, self.task)

    def learn_many(
        self,
        vectors: Vectors,
        labels: NDArray[np.generic],
        weights: NDArray[np.float64] | None = None,
    ) -> Scores:
        """Predict, then learn, row by row in order; returns the predictions before learning.

        An example of weight w counts as one with w times the gradient; of weight 0 nothing is taken
        in. Raises ValueError, and learns nothing, for bad labels and weights.
        """
        rows = len(vectors)
        outcomes, importances = (
            checked_labels(self.task, labels, rows),
            checked_weights(weights, rows),
        )
        offsets = self._offsets(vectors)
        pairs = self.encoder.learn(vectors, importances)
        self.table.grow(self.encoder.slots)
        return shaped(self.table.learn_many(pairs, outcomes, importances, offsets), self.task)

    def _offsets(self, vectors: Vectors) -> Scores | None:
        return None if self.corrects is None else self.corrects.raw_many(vectors)


def _unit(release: Frozen) -> float:
    return float(getattr(release, "unit", 1.0))
