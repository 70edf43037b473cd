"""Big learners are published by what they touched; whoever reads ends with the same learner."""

from dataclasses import replace
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
from stream_world import NOW, World, make_prediction, make_project

from features.plan import compile_plan
from learners.families import restore, warm_start
from learners.learner import Learner
from learners.release import load_release
from learners.snapshot import Newest, Snapshot
from streams.snapshots import MOST_CHANGES, read_missing
from tidemill import EmbeddingNet, RequestFeature, fingerprint
from tidemill.wire import vector_bytes, vectors

IDS = 2_000  # learned at once, so that a change is small beside the whole
NET = EmbeddingNet(name="net", block=4, hidden=(8,), admit_after=1)
REQUEST = make_project().request
SHOP = RequestFeature("shop", fingerprint(REQUEST.shop), categorical=True)
PLAN = compile_plan(replace(make_project(), learner=NET, features=(*make_project().features, SHOP)))
SCHEMA = PLAN.schema


def model_text() -> bytes:
    """A small model of the schema's features."""
    matrix = np.random.default_rng(1).normal(size=(400, len(SCHEMA.names)))
    data = lightgbm.Dataset(matrix, matrix[:, 0] > 0, feature_name=list(SCHEMA.names))
    settings = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    return lightgbm.train(settings, data, 5).model_to_string().encode()


def world_at(home: Path) -> World:
    """A world whose learner is a net, with a release."""
    world = World(home)
    world.context = replace(world.context, plan=PLAN)
    manifest = world.registry.manifest(world.publish())
    made = msgspec.structs.replace(
        manifest, release="r0002", schema=SCHEMA.hash, features=list(SCHEMA.names)
    )
    world.registry.publish(made, {"model.txt": model_text()})
    return world


def add(world: World, sequence: int) -> None:
    """An example of a shop of its own."""
    vector = np.random.default_rng(sequence).normal(size=len(SCHEMA.names)).astype(np.float32)
    vector[-1] = sequence
    made = make_prediction(f"k{sequence}", NOW + sequence, sequence)
    world.example(
        sequence,
        prediction=msgspec.structs.replace(
            made, vector=vector_bytes(vector), schema=SCHEMA.hash, score=0.5
        ),
    )


def clean(world: World) -> Learner:
    """A net that learned every example without any step."""
    net = warm_start(NET, load_release(world.registry, "r0002", PLAN.project), SCHEMA)
    examples = world.examples()
    matrix = vectors([example.prediction for example in examples])
    net.learn_many(matrix, np.array([example.label for example in examples]))
    return net


async def learn(world: World, count: int) -> None:
    """Learn many ids at once, then so many examples with a snapshot after each."""
    reader = await world.reader(world.learn).start()
    first = len(world.examples()) + 1
    if first == 1:
        for sequence in range(1, IDS + 1):
            add(world, sequence)
        await reader.read(IDS)
        first = IDS + 1
    for sequence in range(first, first + count):
        add(world, sequence)
        await reader.read()


def newest(world: World) -> Newest:
    """Which snapshot is the newest."""
    return Newest.decode(world.store.blobs[world.names.newest_snapshot("net")])


async def test_changes_follow_a_whole_snapshot(tmp_path: Path) -> None:
    """They are smaller, carry their base's number, and restore to what was learned."""
    world = world_at(tmp_path)
    await learn(world, 9)
    found = newest(world)
    assert found.base < found.number
    records = await read_missing(world.store, world.names, "net", ("", 0))
    chain = [Snapshot.decode(record) for record in records]
    assert [True] + [False] * (len(chain) - 1) == [each.whole for each in chain]
    assert max(len(record) for record in records[1:]) < len(records[0]) / 2
    release = load_release(world.registry, "r0002", PLAN.project)
    net = restore(NET, release, SCHEMA, chain[0].state)
    for change in chain[1:]:
        net.apply(change.state)
    assert clean(world).snapshot() == net.snapshot()


async def test_a_restart_goes_on_from_a_whole_snapshot_and_its_changes(tmp_path: Path) -> None:
    """The learner that goes on is the one that stopped, and begins with a whole snapshot."""
    world = world_at(tmp_path)
    await learn(world, 9)
    assert newest(world).base < newest(world).number
    await learn(world, 3)
    release = load_release(world.registry, "r0002", PLAN.project)
    records = await read_missing(world.store, world.names, "net", ("", 0))
    net = restore(NET, release, SCHEMA, Snapshot.decode(records[0]).state)
    for record in records[1:]:
        net.apply(Snapshot.decode(record).state)
    assert clean(world).snapshot() == net.snapshot()


async def test_there_is_an_end_to_changes(tmp_path: Path) -> None:
    """After some a whole snapshot comes, so that a reader that starts reads a bounded number."""
    world = world_at(tmp_path)
    await learn(world, MOST_CHANGES + 30)
    assert newest(world).base > 2
    assert newest(world).number - newest(world).base <= MOST_CHANGES


async def test_a_reader_gets_only_what_it_lacks(tmp_path: Path) -> None:
    """With the newest nothing, with one before that its change, with another release all."""
    world = world_at(tmp_path)
    await learn(world, 9)
    found = newest(world)
    for have, expected in (
        (("r0002", found.number), 0),
        (("r0002", found.number - 1), 1),
        (("r0002", found.base), found.number - found.base),
        (("r0000", found.number), found.number - found.base + 1),
        (("r0002", found.number + 5), found.number - found.base + 1),
    ):
        assert expected == len(await read_missing(world.store, world.names, "net", have))
