"""A learner published by its changes: two copies take turns, and what answers stays still."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from payments import make_project

from api.adopting.adoption import Adoption, ModelSource
from api.adopting.loader import ModelLoader
from api.adopting.model import Lent, ModelSlot, RecordedVectors, ServedModel
from learners.families import warm_start
from learners.learner import Learner
from learners.release import load_release
from learners.snapshot import Snapshot
from tidemill import EmbeddingNet
from tidemill.errors import ArtifactError
from tidemill.schema import schema_of
from tidemill.wire import Announcement

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


class Known:
    """The store and the journal of a learner that publishes its changes."""

    def __init__(self, world, loader, publisher) -> None:
        self.records: list[bytes] = []
        self.slot = ModelSlot(publisher.schema.hash, 0, recorded=RecordedVectors(1))
        source = ModelSource(world.registry, self.read)
        self.adoption = Adoption(
            loader, source, self.slot, world.service.measurements, world.clock
        )  # fmt: skip

    async def read(self, release: str, number: int) -> list[bytes]:
        """What was published last."""
        return self.records


async def test_what_was_refused_is_never_taken_for_had(world, loader, publisher) -> None:
    """After bytes other than announced, no change goes into the copy that still answers."""
    known, probe = Known(world, loader, publisher), publisher.rows(20)
    known.records = [publisher.publish(whole=True)]
    await known.adoption.adopt_newest()
    before, expected = known.slot.current, known.slot.current.head.predict_both(probe)[0]
    known.records = [publisher.publish()]
    known.adoption.note(Announcement("snapshot", "net", "r0001", 2, "0" * 64, 1))
    await known.adoption.adopt_newest()
    assert before is known.slot.current
    known.records = [publisher.publish()]
    await known.adoption.adopt_newest()
    assert before is known.slot.current
    np.testing.assert_array_equal(expected, before.head.predict_both(probe)[0])
    known.records = [publisher.publish(whole=True)]
    await known.adoption.adopt_newest()
    assert 4 == known.slot.current.snapshot


async def test_a_copy_that_a_thread_reads_is_not_written_to(world, publisher) -> None:
    """Then the changes go into a new copy, and what is read stays as it is."""
    lent, go, probe = Lent(), threading.Event(), publisher.rows(20)
    project = replace(publisher.project, learner=NET)
    loader = ModelLoader(project, publisher.schema, world.registry, lent)
    _, first = loader.snapshot([publisher.publish(whole=True)], None)
    expected = first.predict_many(probe)
    reading = lent.in_thread([first], lambda: go.wait(10) and first.predict_many(probe))
    copies = {id(first)}
    for _ in range(3):
        _, net = await asyncio.to_thread(loader.snapshot, [publisher.publish()], None)
        np.testing.assert_array_equal(publisher.net.predict_many(probe), net.predict_many(probe))
        copies.add(id(net))
    assert first in lent
    go.set()
    np.testing.assert_array_equal(expected, await reading)
    await asyncio.sleep(0)
    assert first not in lent
    assert len(copies) >= 3


def test_the_copy_before_does_not_answer_for_one_that_is_changed(world, loader, publisher) -> None:
    """It is the one that the next changes go into."""
    slot = ModelSlot(publisher.schema.hash, 0)
    for number in range(1, 4):
        snapshot, net = loader.snapshot([publisher.publish(whole=number == 1)], None)
        slot.adopt(ServedModel("r0001", snapshot.number, net, publisher.schema.hash, 0, 0))
        assert slot.before is None
