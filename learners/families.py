"""From declared settings to a learner: the table of single kinds, and mixtures of them."""

from __future__ import annotations

from learners import single
from learners.learner import Encoded, Frozen, Learner
from tidemill.learner_kinds import LearnerKind, Mixture, River
from tidemill.schema import FeatureSchema


def warm_start(declared: LearnerKind, release: Frozen, schema: FeatureSchema) -> Learner:
    """The declared learner as it starts from a release: it predicts what the release predicts.

    Raises DeclarationError where the declaration and the release do not go together.
    """
    if isinstance(declared, (Mixture, River)):  # River: of one estimator and the release
        from learners.mixture.mixture import MixtureLearner

        return MixtureLearner.warm_start(release, declared, schema)
    return single.warm_start(declared, release, schema)


def restore(
    declared: LearnerKind, release: Frozen, schema: FeatureSchema, state: Encoded
) -> Learner:
    """The declared learner as it was at this `snapshot()`.

    Raises ArtifactError for a state that is damaged or of another release.
    """
    if isinstance(declared, (Mixture, River)):
        from learners.mixture.mixture import MixtureLearner

        return MixtureLearner.restore(release, declared, schema, state)
    return single.restore(declared, release, schema, state)
