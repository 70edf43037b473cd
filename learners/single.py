"""From declared settings to a learner, for every kind that is not made of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from learners.learner import Encoded, Frozen, Learner
from learners.trees import FrozenTrees
from tidemill.errors import DeclarationError
from tidemill.learner_kinds import EmbeddingNet, LearnerKind, Linear, TreeHead
from tidemill.schema import FeatureSchema


class Family(Protocol):
    """A class of learners, started from a release or gone on with from a state."""

    def warm_start(
        self, release: Frozen, settings: LearnerKind, schema: FeatureSchema, /
    ) -> Learner:
        """A learner whose first prediction is the release's own."""
        ...

    def restore(
        self, release: Frozen, settings: LearnerKind, schema: FeatureSchema, state: Encoded, /
    ) -> Learner:
        """The learner of this `snapshot()`. Raises ArtifactError when it does not fit."""
        ...


def warm_start(declared: LearnerKind, release: Frozen, schema: FeatureSchema) -> Learner:
    """The declared learner as it starts from a release: it predicts what the release predicts.

    Raises DeclarationError where the declaration and the release do not go together.
    """
    return _family(declared).warm_start(release, declared, schema)


def restore(
    declared: LearnerKind, release: Frozen, schema: FeatureSchema, state: Encoded
) -> Learner:
    """The declared learner as it was at this `snapshot()`.

    Raises ArtifactError for a state that is damaged or of another release.
    """
    return _family(declared).restore(release, declared, schema, state)


class _TreeHeads:
    """Heads need trees, and no schema."""

    def warm_start(self, release: Frozen, settings: TreeHead, schema: FeatureSchema) -> Learner:
        """See `Family`."""
        from learners.tree_head import TreeHead as Head

        return Head.warm_start(_trees(release, settings), settings)

    def restore(
        self, release: Frozen, settings: TreeHead, schema: FeatureSchema, state: Encoded
    ) -> Learner:
        """See `Family`."""
        from learners.tree_head import TreeHead as Head

        return Head.restore(_trees(release, settings), settings, state)


def _trees(release: Frozen, settings: TreeHead) -> FrozenTrees:
    if not isinstance(release, FrozenTrees):
        found, allowed = type(release).__name__, "a release of trees (tm.LightGBM)"
        raise DeclarationError(f"TreeHead {settings.name}", found, allowed)
    return release


def _heads() -> object:
    return _TreeHeads()


def _linear() -> object:
    from learners.linear.learner import LinearLearner

    return LinearLearner


def _nets() -> object:
    from learners.net.embedding_net import EmbeddingNet as Net

    return Net


# A family is imported when one of its learners is declared: the api loads no more than it serves.
_FAMILIES: dict[type, Callable[[], object]] = {
    TreeHead: _heads,
    Linear: _linear,
    EmbeddingNet: _nets,
}


def _family(declared: LearnerKind) -> Family:
    family = _FAMILIES.get(type(declared))
    if family is None:
        allowed = "one of " + ", ".join(sorted(kind.__name__ for kind in _FAMILIES))
        raise DeclarationError("learner", type(declared).__name__, allowed)
    return cast(Family, family())
