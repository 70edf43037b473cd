"""The head's state belongs to its trees and is refused when damaged."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from releases import release

from batch.trainers.averaged import averaged
from learners.tree_head import TREES_OF_RATE, TreeHead
from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import TreeHead as Settings

SETTINGS = Settings()


def head() -> TreeHead:
    """A head that has learned a little."""
    made = release()
    learner = TreeHead.warm_start(FrozenTrees.parse(made.text), SETTINGS)
    learner.learn_many(made.vectors[:50], made.labels[:50])
    return learner


def test_state_of_other_trees_is_refused() -> None:
    """A state cannot be put on a release it was not learned on."""
    other = FrozenTrees.parse(release(rounds=3, leaves=2).text)
    with pytest.raises(ArtifactError, match="found trees .* allowed: " + other.digest):
        TreeHead.restore(other, SETTINGS, head().snapshot())


@pytest.mark.parametrize("field", [1, 2])
@pytest.mark.parametrize("damage", ["nan", "inf", "short", "odd"])
def test_damaged_state_is_refused(field: int, damage: str) -> None:
    """Weights or sums that are cut off or not finite are refused."""
    learner = head()
    parts = msgspec.msgpack.decode(learner.snapshot())
    number = np.array([np.nan if damage == "nan" else np.inf]).tobytes()
    cut = {"short": parts[field][8:], "odd": parts[field][1:]}
    parts[field] = cut.get(damage, number + parts[field][8:])
    with pytest.raises(ArtifactError, match="head state"):
        TreeHead.restore(learner.trees, SETTINGS, msgspec.msgpack.encode(parts))


def test_bytes_that_are_no_state_are_refused() -> None:
    """Anything else than a state is an ArtifactError, not a decoder's error."""
    with pytest.raises(ArtifactError, match="head state"):
        TreeHead.restore(head().trees, SETTINGS, b"not a state")


def test_a_full_leaf_moves_less() -> None:
    """The more an example's leaves have learned, the smaller its step."""
    made = release()
    learner = TreeHead.warm_start(FrozenTrees.parse(made.text), SETTINGS)
    vector, label = made.vectors[:1], np.array([1])
    scores = [learner.learn_many(vector, label)[0] for _ in range(50)]
    steps = np.diff(scores)
    assert (steps > 0).all()
    assert steps[-1] < steps[0]


def test_more_trees_move_the_score_no_further() -> None:
    """The same trees twice, each of half the weight, learn as they do once."""
    made = release(rounds=TREES_OF_RATE, leaves=4)
    twice = averaged([made.text.decode(), made.text.decode()]).encode()
    heads = [TreeHead.warm_start(FrozenTrees.parse(text), SETTINGS) for text in (made.text, twice)]
    found = [learner.learn_many(made.vectors[:200], made.labels[:200]) for learner in heads]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    assert np.abs(found[0] - heads[0].predict_both(made.vectors[:200])[1]).max() > 1e-3
