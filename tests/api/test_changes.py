"""A learner published by its changes: two copies take turns, and what answers stays still."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from payments import make_project

from api.adoption import ModelLoader
from learners.families import warm_start
from learners.learner import Learner
from learners.release import load_release
from learners.snapshot import Snapshot
from tidemill import EmbeddingNet
from tidemill.errors import ArtifactError
from tidemill.schema import schema_of

NET = EmbeddingNet(name="net", block=2, hidden=(8,), admit_after=1)


class Publisher:
    """A net that learns a little between any two snapshots."""

    def __init__(self, world) -> None:
        world.release()
        self.project = make_project()
        self.schema = schema_of(self.project)
        release = load_release(world.registry, "r0001", self.project)
        self.net: Learner = warm_start(NET, release, self.schema)
        self.number, self.base = 0, 0
        self.random = np.random.default_rng(3)

    def rows(self, count: int) -> NDArray[np.float32]:
        """Vectors of the schema."""
        return self.random.normal(size=(count, len(self.schema.names))).astype(np.float32)

    def publish(self, whole: bool = False) -> bytes:
        """The next snapshot, whole or what changed."""
        self.net.learn_many(self.rows(6), np.array([0, 1, 1, 0, 1, 0]))
        changes = self.net.changes()
        self.number += 1
        self.base = self.number if whole else self.base
        return Snapshot(
            "net", "r0001", self.number, self.base, self.schema.hash, 6 * self.number, 0, {},
            self.net.snapshot() if whole else changes, 0,
        ).encode()  # fmt: skip


@pytest.fixture
def publisher(world) -> Publisher:
    """What is published."""
    return Publisher(world)


@pytest.fixture
def loader(world, publisher) -> ModelLoader:
    """The api's loader for a project with a net."""
    return ModelLoader(replace(publisher.project, learner=NET), publisher.schema, world.registry)


def test_each_change_gives_what_the_publisher_has(loader, publisher) -> None:
    """After every change, one at a time or several, predictions are the publisher's own."""
    probe = publisher.rows(20)
    loader.snapshot([publisher.publish(whole=True)], None)
    for several in (1, 1, 2, 1, 3, 1):
        records = [publisher.publish() for _ in range(several)]
        snapshot, net = loader.snapshot(records, probe)
        assert (publisher.number, ("r0001", publisher.number)) == (snapshot.number, loader.have)
        np.testing.assert_array_equal(publisher.net.predict_many(probe), net.predict_many(probe))
        assert publisher.net.snapshot() == net.snapshot()


def test_what_answers_is_not_written_to(loader, publisher) -> None:
    """While the next model is made, the one in service predicts what it predicted."""
    probe = publisher.rows(20)
    _, before = loader.snapshot([publisher.publish(whole=True)], None)
    for _ in range(4):
        expected = before.predict_many(probe)
        _, after = loader.snapshot([publisher.publish()], None)
        assert before is not after
        np.testing.assert_array_equal(expected, before.predict_many(probe))
        before = after


def test_a_gap_is_refused_and_all_is_read_again(loader, publisher) -> None:
    """A change that does not follow is no change of ours; then nothing is taken for had."""
    loader.snapshot([publisher.publish(whole=True)], None)
    publisher.publish()
    with pytest.raises(ArtifactError, match="snapshot number: found 3; allowed: 2"):
        loader.snapshot([publisher.publish()], None)
    assert ("", 0) == loader.have
    loader.snapshot([publisher.publish(whole=True)], None)
    assert ("r0001", 4) == loader.have
