"""A label counts in its entities' rates from the moment it is joined, once."""

import dataclasses

import msgspec
import numpy as np
import pytest
from stream_world import NOW, PARTITIONS, Reader, World, make_prediction, make_project

from features.decoding import EventDecoder, RequestDecoder
from features.plan import compile_plan
from features.vectors import VectorReader
from streams.fold import Fold
from streams.rekey import Rekey
from tidemill import LabelRate
from tidemill.errors import StoreUnavailable
from tidemill.topics import EXAMPLES, UPDATES
from tidemill.wire import Example

HOUR = 3_600_000


def project_with_rates():
    """The project of the other tests, with the rate of labels by card and by shop."""
    project = make_project()
    rate = LabelRate("bad", project.entities, ("24h", "lifetime"), prior=0.2, weight=4)
    return dataclasses.replace(project, features=(*project.features, rate))


PLAN = compile_plan(project_with_rates())


@pytest.fixture
def rated(tmp_path) -> World:
    """A world whose declaration has label rates."""
    world = World(tmp_path)
    world.context = dataclasses.replace(world.context, plan=PLAN)
    return world


def label(world: World, sequence: int, value: int, time: int, **changes: object) -> None:
    """Append the example of one labelled request."""
    request = {"card": "c1", "shop": "s1", "amount": 5.0, "time": NOW} | changes
    made = msgspec.structs.replace(
        make_prediction(f"k{sequence}", NOW), request=msgspec.json.encode(request)
    )
    world.bus.append(EXAMPLES, Example(made, value, time, NOW, 0, sequence).encode())


def rekey(world: World) -> Rekey:
    """The step that also reads examples."""
    decoder = EventDecoder(PLAN.project, world.clock, HOUR)
    return Rekey(world.context, decoder, world.letters(), 50)


async def run(world: World) -> None:
    """Read everything through both steps."""
    for partition in range(PARTITIONS):
        await (await world.reader(lambda: rekey(world), partition).start()).read_all()
    for partition in range(PARTITIONS):
        await (await world.reader(lambda: Fold(world.context), partition).start()).read_all()


async def rates(world: World, time: int, card: str = "c1", shop: str = "s1") -> list[float]:
    """The rates as a request reads them: by card over 24 h and ever, by shop alike."""
    request = {"card": card, "shop": shop, "amount": 1.0, "time": time}
    decoded = RequestDecoder(PLAN.project, world.clock, 10**12).decode(msgspec.json.encode(request))
    vectors = await VectorReader(PLAN, world.names, world.store).read([decoded])
    chosen = [PLAN.schema.names.index(n) for n in PLAN.project.features[-1].names]
    return vectors.matrix[0, chosen].tolist()


async def test_a_rate_is_pulled_to_its_prior(rated: World) -> None:
    """(sum + weight * prior) / (count + weight), the prior alone for one never labelled."""
    for sequence, value in enumerate((1, 0, 1), 1):
        label(rated, sequence, value, NOW + sequence)
    await run(rated)
    expected = (2 + 4 * 0.2) / (3 + 4)
    np.testing.assert_allclose([expected] * 4, await rates(rated, NOW + 10), rtol=1e-6)
    np.testing.assert_allclose([0.2] * 4, await rates(rated, NOW, "new", "new"), rtol=1e-6)


async def test_a_label_counts_from_when_it_was_known(rated: World) -> None:
    """A label of an old request is in no rate before its own time, and leaves with its window."""
    label(rated, 1, 1, NOW + 2 * HOUR)
    await run(rated)
    before, after, gone = [await rates(rated, NOW + h * HOUR) for h in (1, 2, 2 + 26)]
    rate = (1 + 0.8) / 5
    np.testing.assert_allclose([0.2, rate], [before[0], after[0]], rtol=1e-6)
    np.testing.assert_allclose([0.2, rate], gone[:2], rtol=1e-6)


async def test_an_example_sent_twice_counts_once(rated: World) -> None:
    """The join may send an example again after a crash; its sequence tells."""
    for sequence in (1, 2, 1, 2, 3):
        label(rated, sequence, 1, NOW + sequence)
    await run(rated)
    np.testing.assert_allclose((3 + 0.8) / 7, (await rates(rated, NOW + 10))[0], rtol=1e-6)


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("fault", ["before", "after"])
async def test_labels_survive_a_commit_that_failed(rated: World, fault: str, cut: int) -> None:
    """Whatever became of a commit, each label is counted once."""
    for sequence in range(1, 6):
        label(rated, sequence, 1, NOW + sequence)
    rated.store.faults = [fault]
    with pytest.raises(StoreUnavailable):
        await (await rated.reader(lambda: rekey(rated)).start()).read(cut)
    await run(rated)
    np.testing.assert_allclose((5 + 0.8) / 9, (await rates(rated, NOW + 10))[0], rtol=1e-6)


async def test_labels_are_not_counted_as_applied_events(rated: World) -> None:
    """Events read are events applied and dead letters, labels aside."""
    rated.event()
    label(rated, 1, 1, NOW)
    await run(rated)
    assert (1, 1) == (
        rated.total("events", "events_read"),
        rated.total("updates", "events_applied"),
    )


async def test_a_project_without_rates_reads_no_examples(world: World) -> None:
    """Nothing is read that nothing is made of."""
    label(world, 1, 1, NOW)
    reader: Reader = await world.reader(world.rekey).start()
    assert (("events",), 0) == (reader.step.kinds, await reader.read())
    assert [] == list(world.bus.log(UPDATES, 0))
