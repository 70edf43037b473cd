"""Models are adopted while serving, and only when they pass every check."""

import asyncio
import gc
import threading
import time
import weakref
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from payments import make_project

from api.adopting import heap, loader
from api.adopting.model import RecordedVectors
from api.service import ScoringService
from features.plan import compile_plan
from learners.release import TREES_FILE, ModelFile, load_release, release_files
from learners.snapshot import digest
from learners.tree_head import TreeHead as Head
from learners.trees import FrozenTrees
from tidemill import Serving
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import TreeHead
from tidemill.registry import SIGNATURE
from tidemill.roles import RoleChange
from tidemill.signature import Keys
from tidemill.wire import Announcement

SCORE = "/v1/score"


def version(world) -> tuple[str, int]:
    """The release and snapshot being served."""
    model = world.service.slot.current
    return model.release, model.snapshot


async def test_without_a_snapshot_the_release_is_served(world):
    """A fresh project answers with its release, as snapshot 0."""
    world.release()
    await world.service.adoption.adopt_newest()
    assert ("r0001", 0) == version(world)


async def test_the_first_release_follows_the_prior(world, until):
    """An announced first release is served at once, and is a change of the release."""
    async with world.service.running():
        assert ("prior", 0) == version(world)
        world.release()
        world.announced.put_nowait(Announcement("release", "head", "r0001", 0, "", 1))
        await until(lambda: version(world) == ("r0001", 0))
    changes = world.service.measurements.release_changes
    assert [("r0001", 0)] == [(change.release, change.snapshot) for change in changes]


async def test_the_newest_model_is_adopted_before_the_first_request(world):
    """Once the service runs, the prior does not answer for a release that is there."""
    world.release()
    async with world.service.running():
        assert ("r0001", 0) == version(world)


async def test_the_newest_snapshot_is_served(world):
    """At the start the learner's state goes before the release."""
    world.release()
    world.write_snapshot(7)
    await world.service.adoption.adopt_newest()
    assert ("r0001", 7) == version(world)
    assert 70 == world.service.slot.current.examples


async def test_a_newer_release_waits_for_its_first_snapshot(served):
    """A release is not served before the learner has caught up on it."""
    served.write_snapshot(1)
    await served.service.adoption.adopt_newest()
    served.release("r0002")
    await served.service.adoption.adopt_newest()
    assert ("r0001", 1) == version(served)
    served.write_snapshot(1, "r0002")
    await served.service.adoption.adopt_newest()
    assert ("r0002", 1) == version(served)


async def test_nothing_published_serves_the_prior(world):
    """No release, no model, no error."""
    await world.service.adoption.adopt_newest()
    assert ("prior", 0) == version(world)
    assert 0 == world.service.measurements.swaps_refused


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "0" * 12},
        {"learner": "another"},
        {"release": "r0099"},
        {"state": b"\x93no state"},
    ],
)
async def test_a_snapshot_that_does_not_fit_is_refused(served, changes):
    """Another schema, learner, unknown release or damaged state: counted, and the old one stays."""
    served.write_snapshot(1)
    await served.service.adoption.adopt_newest()
    served.write_snapshot(2, **changes)
    await served.service.adoption.adopt_newest()
    assert ("r0001", 1) == version(served)
    assert 1 == served.service.measurements.swaps_refused


async def test_damaged_bytes_are_refused_once(served):
    """A snapshot with a flipped bit is refused, and not tried again until it changes."""
    served.write_snapshot(1)
    data = bytearray(served.snapshot)
    data[-1] ^= 1
    served.snapshot = bytes(data)
    await served.service.adoption.adopt_newest()
    await served.service.adoption.adopt_newest()
    assert ("r0001", 0) == version(served)
    assert 1 == served.service.measurements.swaps_refused


async def test_weights_that_are_not_finite_are_refused(served):
    """A head with an infinite weight never answers."""
    head = Head.warm_start(FrozenTrees.parse(served.model_text), TreeHead())
    head.weights[3] = float("inf")
    served.write_snapshot(1, state=head.snapshot())
    await served.service.adoption.adopt_newest()
    assert ("r0001", 0) == version(served)


async def test_a_release_of_another_schema_is_passed_over(world):
    """A release made for other features is not served: the newest of our own is."""
    world.release()
    world.release("r0002", schema="f" * 12)
    await world.service.adoption.adopt_newest()
    assert ("r0001", 0) == version(world)
    assert 0 == world.service.measurements.swaps_refused


async def test_a_damaged_release_is_refused(world):
    """A model file whose digest does not fit is not parsed."""
    world.release()
    file = world.registry.folder / "r0001" / "trees.safetensors"
    file.write_bytes(file.read_bytes() + b"#")
    await world.service.adoption.adopt_newest()
    assert ("prior", 0) == version(world)
    assert 1 == world.service.measurements.swaps_refused


async def test_a_release_from_before_arrays_is_read_from_its_text(world):
    """A release that has the model's text alone answers as one that has its arrays too."""
    world.release(files={TREES_FILE: world.model_text})
    await world.service.adoption.adopt_newest()
    assert ("r0001", 0) == version(world)
    frozen = FrozenTrees.parse(world.model_text)
    vectors = np.zeros((1, len(frozen.features)), np.float32)
    head = world.service.slot.current.head
    assert frozen.predict_many(vectors).tolist() == head.predict_both(vectors)[0].tolist()


async def test_arrays_of_another_model_than_the_releases_are_refused(world):
    """What a release says of its trees twice must be the same trees."""
    files = release_files(ModelFile(TREES_FILE, world.model_text))
    world.release(files=files | {TREES_FILE: world.model_text + b"#"})
    await world.service.adoption.adopt_newest()
    assert ("prior", 0) == version(world)
    (refused,) = world.service.measurements.refused_swaps
    assert "release r0001: trees.safetensors: found trees of" in refused.error


async def test_bytes_other_than_announced_are_refused(served, until):
    """A snapshot that is not the one announced under its number is not served."""
    async with served.service.running():
        announced = served.write_snapshot(1)
        served.announced.put_nowait(msgspec.structs.replace(announced, sha256="0" * 64))
        await until(lambda: served.service.measurements.swaps_refused)
    assert ("r0001", 0) == version(served)


async def test_announcements_coalesce_to_the_newest(served, until):
    """Many announcements at once cost a few reads, and the last one wins."""
    for number in range(1, 101):
        served.announced.put_nowait(served.write_snapshot(number))
    async with served.service.running():
        await until(lambda: version(served) == ("r0001", 100))
    assert served.snapshot_reads < 10


async def test_label_to_weights_counts_every_label_once(served, until):
    """Each label up to the served snapshot is timed when its weights begin to answer."""
    produced = served.clock.now_ms() - 300
    for number in range(1, 4):
        announced = served.write_snapshot(number)
        labels = {"labels_produced_ms": [produced] * number}
        served.announced.put_nowait(msgspec.structs.replace(announced, **labels))
    async with served.service.running():
        await until(lambda: served.service.measurements.label_to_weights.count() == 6)
    summary = served.service.measurements.label_to_weights.percentiles_ms()
    assert {"p50": 300.0, "p99": 300.0} == summary


async def test_labels_announced_after_adoption_count_from_adoption(served, until):
    """A snapshot seen in the store before its announcement served the labels since then."""
    announced = served.write_snapshot(1)
    await served.service.adoption.adopt_newest()
    produced = served.clock.now_ms() - 200
    served.clock.advance(5_000)
    served.announced.put_nowait(msgspec.structs.replace(announced, labels_produced_ms=[produced]))
    async with served.service.running():
        await until(lambda: served.service.measurements.label_to_weights.count())
    summary = served.service.measurements.label_to_weights.percentiles_ms()
    assert {"p50": 200.0, "p99": 200.0} == summary


async def test_only_release_changes_are_listed_as_swaps(served):
    """Snapshots of one release are counted, releases are listed."""
    for number in (1, 2):
        served.write_snapshot(number)
        await served.service.adoption.adopt_newest()
    measurements = served.service.measurements
    assert {"release": 1, "snapshot": 2} == dict(measurements.swaps)
    assert [("r0001", 0)] == [(s.release, s.snapshot) for s in measurements.release_changes]


async def test_a_store_that_is_gone_at_the_start_leaves_the_release(world, until):
    """Without the store the release answers; the snapshot follows when the store is back."""
    world.release()
    world.write_snapshot(5)
    world.store_gone = True
    async with world.service.running():
        await until(lambda: version(world) == ("r0001", 0))
        world.store_gone = False
        await until(lambda: version(world) == ("r0001", 5))


async def test_a_swap_under_load_fails_no_request(served, call, request_body, until):
    """While snapshots and a release are adopted, every answer is the one its version gives."""
    served.release("r0002")
    replies, stop = [], asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            replies.append(await call.post(SCORE, request_body))
            await asyncio.sleep(0)

    async with served.service.running():
        callers = [asyncio.create_task(ask()) for _ in range(8)]
        for release in ("r0001", "r0002"):
            for number in range(1, 11):
                served.announced.put_nowait(served.write_snapshot(number, release))
                await until(lambda r=release, n=number: version(served) == (r, n))
        stop.set()
        await asyncio.gather(*callers)
    assert {200} == {reply.status for reply in replies}
    scores: dict[tuple[str, int], set[float]] = {}
    for reply in replies:
        model = reply.json["model"]
        scores.setdefault((model["release"], model["snapshot"]), set()).add(reply.json["score"])
    known = {("r0001", 0)} | {(r, n) for r in ("r0001", "r0002") for n in range(1, 11)}
    assert scores.keys() <= known
    assert len(scores) > 5
    assert {1} == {len(found) for found in scores.values()}
    assert len(replies) == len(served.producer.predictions())


async def test_an_older_release_is_served_after_a_rollback(served):
    """The learner has caught up on it and publishes its snapshots again."""
    for release, number in (("r0001", 5), ("r0002", 1), ("r0001", 6)):
        if release not in served.registry.names():
            served.release(release)
        served.write_snapshot(number, release)
        await served.service.adoption.adopt_newest()
        assert (release, number) == version(served)


async def test_labels_of_the_release_before_are_not_waited_for_for_ever(served):
    """What was announced before a rollback and never adopted counts once the older one serves."""
    served.release("r0002")
    adoption = served.service.adoption
    late = served.write_snapshot(9, "r0002")
    adoption.note(msgspec.structs.replace(late, labels_produced_ms=[late.time_ms]))
    served.clock.advance(1_000)
    served.write_snapshot(6)
    await adoption.adopt_newest()
    assert 1 == served.service.measurements.label_to_weights.count()
    newer = served.write_snapshot(7)
    served.snapshot = None
    newer = msgspec.structs.replace(newer, release="r0002", time_ms=served.clock.now_ms() + 1)
    adoption.note(msgspec.structs.replace(newer, labels_produced_ms=[newer.time_ms]))
    await adoption.adopt_newest()
    assert 1 == served.service.measurements.label_to_weights.count()


@pytest.mark.parametrize("action", ["retired", "given_up", "challenger"])
async def test_a_release_that_is_out_is_not_served_first(world, action):
    """An api that starts without a snapshot serves the champion."""
    for name in ("r0001", "r0002"):
        world.release(name)
    change = RoleChange("r0002", action, world.plan.schema.hash, 1)
    world.registry.enter(lambda standings: change)
    await world.service.adoption.adopt_newest()
    assert ("r0001", 0) == version(world)


@pytest.mark.parametrize("signature", [None, b"x" * 64])
async def test_a_release_that_nobody_signed_is_refused(world, signature):
    """Neither at the start nor by a snapshot of it; what served goes on."""
    world.release()
    world.write_snapshot(1)
    await world.service.adoption.adopt_newest()
    world.release("r0002")
    file = world.registry.folder / "r0002" / SIGNATURE
    file.unlink() if signature is None else file.write_bytes(signature)
    world.write_snapshot(1, "r0002")
    await world.service.adoption.adopt_newest()
    assert (("r0001", 1), 1) == (version(world), world.service.measurements.swaps_refused)


async def test_announcements_of_other_learners_are_none_of_its_own(served):
    """A challenger's snapshot of the same release and number has other bytes."""
    served.release("r0002")
    announced = served.write_snapshot(1, "r0002", learner="head@r0002")
    served.service.adoption.note(msgspec.structs.replace(announced, learner="head@r0002"))
    served.write_snapshot(1, "r0002")
    await served.service.adoption.adopt_newest()
    assert ("r0002", 1) == version(served)


async def test_what_cannot_be_read_is_refused_once(served, monkeypatch):
    """A damaged record in the store is said and ends nothing; the old model stays."""
    read = served.read_snapshots

    async def damaged(release, number):
        raise ArtifactError("snapshot: its sha256 does not fit its bytes")

    source = served.service.adoption._source
    monkeypatch.setattr(served.service.adoption, "_source", replace(source, read_snapshots=damaged))
    for _ in range(3):
        assert await served.service.adoption.adopt_newest()
    assert (("r0001", 0), 1) == (version(served), served.service.measurements.swaps_refused)
    served.write_snapshot(2)
    monkeypatch.setattr(served.service.adoption, "_source", replace(source, read_snapshots=read))
    await served.service.adoption.adopt_newest()
    assert ("r0001", 2) == version(served)


async def test_the_offset_is_that_of_the_snapshot(served, call, request_body):
    """The answer says how far in the examples its weights have come."""
    served.write_snapshot(3)
    await served.service.adoption.adopt_newest()
    answer = (await call.post(SCORE, request_body)).json
    expected = {"release": "r0001", "snapshot": 3, "offset": 30, "arm": "champion"}
    assert expected == answer["model"]


async def test_a_slow_model_is_refused(world):
    """One that takes longer than declared for one of the recorded requests."""
    world.release()
    project = replace(make_project(), serving=Serving(slowest_us=0.1))
    service = ScoringService(
        compile_plan(project), world.service.ports, world.service.settings, world.clock
    )
    await service.adoption.adopt_newest()
    assert ("prior", 1) == (service.slot.current.release, service.measurements.swaps_refused)
    assert "allowed: at most 0.1" in service.measurements.refused_swaps[-1].error


async def test_models_are_tried_on_the_newest_requests(served, call, request_body):
    """As many as are declared, however they were grouped."""
    recorded = served.service.slot.recorded
    assert recorded.newest() is None
    amounts = [float(n) for n in range(100)]
    for start in (0, 40, 80):
        rows = [request_body | {"amount": each} for each in amounts[start : start + 40]]
        await call.post("/v1/score:batch", {"requests": rows})
    column = served.plan.schema.names.index("amount")
    assert amounts[-64:] == recorded.newest()[:, column].tolist()


def test_groups_without_requests_are_not_kept():
    """However many empty batches come, they take no memory."""
    recorded = RecordedVectors(2)
    for _ in range(5):
        recorded.add(np.empty((0, 3), np.float32))
    assert recorded.newest() is None
    for number in range(3):
        recorded.add(np.full((2, 3), number, np.float32))
    assert [[2.0] * 3] * 2 == recorded.newest().tolist()


async def test_a_swap_checks_the_signature_once(served, monkeypatch):
    """That of the release it loads; what looks at it afterwards knows what it was made for."""
    served.release("r0002")
    announced = served.write_snapshot(1, "r0002")
    checked, check = [], Keys.check

    def counted(keys, what, data, signature):
        checked.append(what)
        return check(keys, what, data, signature)

    monkeypatch.setattr(Keys, "check", counted)
    served.service.adoption.note(announced)
    for _ in range(3):
        assert await served.service._look()
    assert (("r0002", 1), ["release r0002"]) == (version(served), checked)


async def test_the_loop_does_not_hash_snapshots(served, monkeypatch):
    """They may be large, and it has requests to answer."""
    threads = []

    def watched(data):
        threads.append(threading.current_thread())
        return digest(data)

    monkeypatch.setattr("api.adopting.adoption.digest", watched)
    served.service.adoption.note(served.write_snapshot(1))
    await served.service.adoption.adopt_newest()
    assert (("r0001", 1), 1) == (version(served), len(threads))
    assert threading.main_thread() is not threads[0]


class Reads:
    """Reads releases from the disk, and says how many others were in memory each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.beside: list[int] = []
        self._there = weakref.WeakSet[FrozenTrees]()
        monkeypatch.setattr(loader, "load_release", self._read)

    def _read(self, *given) -> FrozenTrees:
        gc.collect()
        self.beside.append(len(self._there))
        found = load_release(*given)
        self._there.add(found)
        return found


async def take_turns(world, *releases: str) -> None:
    """Adopt a snapshot of each of these releases, one after the other."""
    for number, name in enumerate(releases):
        if not world.registry.folder.joinpath(name).exists():
            world.release(name)
        world.write_snapshot(number + 1, name)
        await world.service.adoption.adopt_newest()
        assert (name, number + 1) == version(world)


async def test_one_release_is_in_memory_while_another_is_read(world, monkeypatch):
    """A swap takes one model more, not the one that stood in as well."""
    reads = Reads(monkeypatch)
    await take_turns(world, "r0001", "r0002", "r0003", "r0004")
    assert [0, 1, 1, 1] == reads.beside
    assert "r0003" == world.service.slot.before.release


async def test_the_heaps_holes_are_given_back_once_for_swaps_that_follow_each_other(
    world, monkeypatch
):
    """The next load goes into them again."""
    given = []
    monkeypatch.setattr(heap, "give_back", lambda: given.append(1))
    await take_turns(world, "r0001", "r0002", "r0003")
    assert [1] == given
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + 10)
    await take_turns(world, "r0004")
    assert [1, 1] == given


async def test_a_load_rests_between_the_steps_of_reading_a_release(world, monkeypatch):
    """So that answers do not wait for all of it; weights of a release that is there are no wait."""
    rests = []
    monkeypatch.setattr(loader, "rest", lambda: rests.append(1))
    await take_turns(world, "r0001")
    assert 4 == len(rests)
    await take_turns(world, "r0001", "r0001")
    assert 4 == len(rests)


async def test_a_release_taken_back_to_is_not_read_again(world, monkeypatch):
    """It is the one that stood in; what is read next takes the place of the other."""
    reads = Reads(monkeypatch)
    await take_turns(world, "r0001", "r0002", "r0001")
    assert [0, 1] == reads.beside
    assert "r0002" == world.service.slot.before.release
    await take_turns(world, "r0003", "r0001")
    assert [0, 1, 1] == reads.beside


async def test_weights_of_the_same_release_stand_in_while_another_is_read(world):
    """They take no memory worth the name; a refused release costs only what stood in before it."""
    await take_turns(world, "r0001", "r0001")
    before = world.service.slot.before
    world.release("r0002", files={TREES_FILE: b"no trees"})
    world.write_snapshot(3, "r0002")
    await world.service.adoption.adopt_newest()
    assert ("r0001", 2) == version(world)
    assert before is world.service.slot.before
    assert ("r0001", 1) == (before.release, before.snapshot)
