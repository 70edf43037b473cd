"""The online mixture of experts as a learner: experts, the frozen release, and their blend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, Self, TypeGuard

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners import single
from learners.learner import (
    Encoded,
    Frozen,
    Incremental,
    Scores,
    Vectors,
    checked_labels,
    checked_weights,
)
from learners.mixture.blend import Blend
from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import LearnerKind, Mixture, River
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

RELEASE = "release"
"""What the frozen release is called among the weights."""


class Expert(Protocol):
    """What a mixture needs of an expert: a learner, or a cold model that has no release."""

    def predict_many(self, vectors: Vectors) -> Scores:
        """What it predicts now."""
        ...

    def learn_many(
        self, vectors: Vectors, labels: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> Scores:
        """Predict, then learn, row by row; returns the predictions before learning."""
        ...

    def snapshot(self) -> bytes:
        """Everything learned."""
        ...

    def clone(self) -> Self:
        """An expert of its own with the same state."""
        ...

    def update_norm(self) -> float:
        """The distance of its weights from those it started with."""
        ...


class _State(msgspec.Struct, frozen=True, array_like=True):
    """A mixture's state or changes: of which release and experts, theirs, and the blend's."""

    release: str
    names: list[str]
    experts: list[bytes]
    blend: bytes


class MixtureLearner:
    """Experts that learn side by side, blended with the release they started from; see `Blend`.

    River estimators know no release. They begin with no weight, asleep, and wake by the share that
    every forecaster receives; alone, an estimator is a mixture of itself and the release.
    """

    def __init__(
        self,
        release: Frozen,
        settings: Mixture,
        schema: FeatureSchema,
        experts: Sequence[Expert],
        blend: Blend,
    ) -> None:
        self._release, self._settings, self._schema = release, settings, schema
        self._experts, self._blend = list(experts), blend

    @classmethod
    def warm_start(
        cls, release: Frozen, settings: Mixture | River, schema: FeatureSchema
    ) -> MixtureLearner:
        """A mixture that predicts what the release predicts."""
        settings = _as_mixture(settings)
        experts = [_start(declared, release, schema) for declared in settings.experts]
        blend = Blend.start(release.task, settings, _warm(settings))
        return cls(release, settings, schema, experts, blend)

    @classmethod
    def restore(
        cls, release: Frozen, settings: Mixture | River, schema: FeatureSchema, state: Encoded
    ) -> MixtureLearner:
        """The mixture of this `snapshot()`. Raises ArtifactError when damaged or of another."""
        settings = _as_mixture(settings)
        saved = _decoded(state, release, settings)
        experts = [
            _restored(declared, release, schema, part)
            for declared, part in zip(settings.experts, saved.experts, strict=True)
        ]
        blend = Blend.start(release.task, settings, _warm(settings)).restore(saved.blend)
        return cls(release, settings, schema, experts, blend)

    @property
    def task(self) -> Task:
        """What the release predicts."""
        return self._release.task

    @property
    def release(self) -> Frozen:
        """What all experts were started from."""
        return self._release

    @property
    def experts(self) -> Sequence[Expert]:
        """Those beside the release, in the declared order."""
        return tuple(self._experts)

    @property
    def blend(self) -> Blend:
        """Who is trusted how much."""
        return self._blend

    def weights(self) -> dict[str, float]:
        """How much each has to say: the release, the experts, and the stackers by their memory."""
        names = [RELEASE, *(expert.name for expert in self._settings.experts)]
        names += [f"stacker {memory}" for memory in self._settings.memories]
        return dict(zip(names, self._blend.shares.tolist(), strict=True))

    def predict_many(self, vectors: Vectors) -> Scores:
        """Blended probabilities or values; changes no state."""
        return self.predict_both(vectors)[0]

    def predict_both(self, vectors: Vectors) -> tuple[Scores, Scores]:
        """`predict_many`, and what the frozen release predicts."""
        vectors = np.require(vectors, np.float32, ("C", "W"))
        with _walked_once(self._release, vectors):
            baselines = self._release.predict_many(vectors)
            given = [expert.predict_many(vectors) for expert in self._experts]
        return self._blend.predict(np.stack([baselines, *given], axis=1)), baselines

    def learn_many(
        self,
        vectors: Vectors,
        labels: NDArray[np.generic],
        weights: NDArray[np.float64] | None = None,
    ) -> Scores:
        """Predict, then learn, row by row; returns the blended predictions before learning."""
        vectors = np.require(vectors, np.float32, ("C", "W"))
        outcomes = checked_labels(self.task, labels, len(vectors))
        importances = checked_weights(weights, len(vectors))
        with _walked_once(self._release, vectors):
            advice = [self._release.predict_many(vectors)]
            for expert in self._experts:
                advice.append(expert.learn_many(vectors, outcomes, importances))
        return self._blend.learn(np.stack(advice, axis=1), outcomes, importances)

    def snapshot(self) -> bytes:
        """Everything learned; equal states give equal bytes."""
        return self._encoded([expert.snapshot() for expert in self._experts])

    def changes(self) -> bytes:
        """What was touched since the last call, of experts that know it, and all of the others."""
        return self._encoded(
            [
                expert.changes() if _is_incremental(expert) else expert.snapshot()
                for expert in self._experts
            ]
        )

    def apply(self, changes: Encoded) -> None:
        """Bring a copy of the state as it was at the last `changes` up to these.

        Raises ArtifactError when they do not fit; of a mixture that raised, make another.
        """
        saved = _decoded(changes, self._release, self._settings)
        blend = self._blend.restore(saved.blend)
        for place, declared in enumerate(self._settings.experts):
            expert, part = self._experts[place], saved.experts[place]
            if _is_incremental(expert):
                expert.apply(part)
            else:
                self._experts[place] = _restored(declared, self._release, self._schema, part)
        self._blend = blend

    def clone(self) -> Self:
        """A mixture of its own with the same state, on the same release."""
        experts = [expert.clone() for expert in self._experts]
        return type(self)(self._release, self._settings, self._schema, experts, self._blend.clone())

    def update_norm(self) -> float:
        """The Euclidean norm of what experts and stackers moved; River's have no start to tell."""
        moved = self._blend.moved()
        return math.sqrt(moved + sum(expert.update_norm() ** 2 for expert in self._experts))

    def _encoded(self, parts: list[bytes]) -> bytes:
        names = [expert.name for expert in self._settings.experts]
        state = _State(self._release.digest, names, parts, self._blend.snapshot())
        return msgspec.msgpack.encode(state)


def _is_incremental(expert: object) -> TypeGuard[Incremental]:
    return hasattr(expert, "changes")


def _as_mixture(settings: Mixture | River) -> Mixture:
    if isinstance(settings, River):
        return Mixture(settings.name, experts=(settings,))
    return settings


def _warm(settings: Mixture) -> NDArray[np.bool_]:
    """Who starts as the release does, the release itself first."""
    return np.array([True, *(not isinstance(expert, River) for expert in settings.experts)])


def _start(declared: LearnerKind, release: Frozen, schema: FeatureSchema) -> Expert:
    if isinstance(declared, River):
        from learners.river_adapter.model import RiverModel

        return RiverModel.start(declared, release.task, schema)
    return single.warm_start(declared, release, schema)


def _restored(
    declared: LearnerKind, release: Frozen, schema: FeatureSchema, state: Encoded
) -> Expert:
    if isinstance(declared, River):
        from learners.river_adapter.model import RiverModel

        return RiverModel.restore(declared, release.task, schema, state)
    return single.restore(declared, release, schema, state)


def _decoded(state: Encoded, release: Frozen, settings: Mixture) -> _State:
    try:
        saved = msgspec.msgpack.decode(state, type=_State)
    except (msgspec.DecodeError, ValueError) as error:
        raise ArtifactError(f"mixture state: {error}") from error
    if saved.release != release.digest:
        raise ArtifactError(
            f"mixture state: found release {saved.release}; allowed: {release.digest}"
        )
    names = [expert.name for expert in settings.experts]
    if saved.names != names or len(saved.experts) != len(names):
        raise ArtifactError(f"mixture state: found experts {saved.names}; allowed: {names}")
    return saved


def _walked_once(release: Frozen, vectors: Vectors) -> AbstractContextManager[None]:
    """Trees are walked once for all experts; another release has nothing to share."""
    if isinstance(release, FrozenTrees):
        return release.walked_once(vectors)
    return nullcontext()
