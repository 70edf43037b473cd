"""A release catches up and takes over under load: nothing fails, no example is lost or doubled."""

from __future__ import annotations

import asyncio
import math
import os
from time import perf_counter

import flights
import numpy as np
from aiokafka import AIOKafkaProducer
from flight_traffic import FlightTraffic, percentiles
from flights import PLAN, Flights, publish, some_days, train
from learning_books import check_snapshot, read_examples, read_held
from ledger import read_log
from processes import FAST_SESSION, until
from redis.asyncio import Redis

from features.redis.store import RedisStore
from tidemill.registry import Registry
from tidemill.topics import MODELS
from tidemill.wire import Announcement, decode, vectors

RATE = int(os.environ.get("TIDEMILL_TEST_RATE", "100"))
SECONDS = float(os.environ.get("TIDEMILL_TEST_SECONDS", "10"))
SWAP_SECONDS = 20  # or less: from the middle of the run to the release's first answer
FLIGHTS_A_DAY = 850  # or more
NAMES = flights.names_of(4)


async def test_a_release_takes_over_under_load_without_losing_or_doubling_an_example(
    broker, endpoints, make, opened, tmp_path
):
    """It learns what came since its data beside the champion; every request is answered."""
    days = math.ceil(RATE * (SECONDS + SWAP_SECONDS) / FLIGHTS_A_DAY)
    some = Flights.of(some_days(tmp_path, 5, days))
    registry = Registry(tmp_path, PLAN.project.name)
    few = len(some) // 10
    publish(registry, train(some.vectors[:few], some.labels[:few], rounds=5), few, {})
    session = FAST_SESSION if broker == "embedded" else {}
    service = make(endpoints.kafka, endpoints.redis, project_file=flights.PROJECT_FILE, **session)
    for command in service.commands:
        command.start()
    await service.ready()
    producer = AIOKafkaProducer(bootstrap_servers=service.kafka, acks="all", linger_ms=5)
    await producer.start()
    opened.push_async_callback(producer.stop)
    store = Redis.from_url(service.redis)
    opened.push_async_callback(store.aclose)
    traffic = FlightTraffic(some, NAMES, service.client.base_url.port, producer, some.label)

    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(traffic.run(RATE, stopping))
        await asyncio.sleep(SECONDS / 2)
        before = list(traffic.answers)
        trained_to = await _retrain(service, registry, store, producer)
        announced = perf_counter()
        await until("the release answers", _answered_by("r0002", traffic))
        await asyncio.sleep(SECONDS / 2)
        stopping.set()
    await traffic.rest_of_labels()

    assert {200} == {each.status for each in traffic.answers}
    served = _one_change(traffic)
    examples = await _all_learned(service, store, traffic)
    held = await read_held(RedisStore(store), NAMES, registry)
    assert ("r0002", examples.end) == (held.record.release, held.record.offset)
    learned = check_snapshot(held, examples, registry, trained_to)
    caught_up = await _never_back(service, examples, trained_to)

    steady = [each for each in before if each.due > before[0].due + 2]
    swap = [each for each in traffic.answers if announced <= each.due + 0.01 <= served + 1]
    print(
        f"{len(traffic.answers)} requests in {running.result():.0f} s, 0 failed; p50 and p99 "
        f"before {percentiles(steady)} ms, from the announcement to a second after the swap "
        f"{percentiles(swap)} ms ({len(swap)}); "
        f"trained to {trained_to}, {caught_up} examples caught up in {served - announced:.2f} s; "
        f"{len(examples.distinct)} examples in the log, {learned} learned since {trained_to}"
    )
    assert [0, 0] == await service.stop()


async def _retrain(service, registry, store, producer):
    """A release of the first third of the examples so far, published now; where its data ends."""

    end = await until("examples are learned", lambda: learned_to(store), good=lambda n: n > RATE)
    trained_to = end // 3
    examples = await read_examples(service.kafka, NAMES, trained_to)
    used = examples.between(0, trained_to)
    data = vectors([e.prediction for e in used]), np.array([e.label for e in used])
    model = await asyncio.to_thread(train, *data)
    reached = {f"sequence:{p}": s for p, s in examples.sequences(trained_to).items()}
    name = publish(registry, model, len(used), {"examples:0": trained_to} | reached)
    news = Announcement("release", PLAN.project.learner.name, name, 0, "", 0)
    await producer.send_and_wait(NAMES.topic(MODELS), news.encode(), key=b"release")
    return trained_to


def _answered_by(release, traffic):
    async def ask():
        return any(each.release == release for each in traffic.answers[-RATE:])

    return ask


def _one_change(traffic):
    """The first release answers up to a moment, the second from then on; returns the moment."""
    moments = [
        each.due + each.milliseconds / 1000 for each in traffic.answers if each.release == "r0002"
    ]
    assert {"r0002"} == {each.release for each in traffic.answers if each.due > min(moments)}
    return min(moments)


async def _all_learned(service, store, traffic):
    """Every label became one example, and the learner has come to the end; the examples."""
    labelled = {each.answer["prediction_id"] for each in traffic.answers}

    async def joined():
        found = await read_examples(service.kafka, NAMES)
        return found if len(found.distinct) >= len(labelled) else None

    examples = await until("all labels are joined", joined)
    ids = [example.prediction.id for _, example in examples.distinct.values()]
    assert sorted(labelled) == sorted(ids)

    await until(
        "everything is learned", lambda: learned_to(store), good=lambda n: n >= examples.end
    )
    return examples


async def learned_to(store):
    """The offset of the examples behind the learner's fence."""
    return int(await store.hget(NAMES.fence("learn", 0), "offset:examples") or 0)


async def _never_back(service, examples, trained_to):
    """What is learned never gets less from snapshot to snapshot; how much the first had learned."""
    log = (await read_log(service.kafka, MODELS, names=NAMES))[0]
    snapshots = [a for r in log if (a := decode(Announcement, r.value)).kind == "snapshot"]
    had = {"r0001": 0, "r0002": len(examples.between(0, trained_to))}
    covered = [had[each.release] + each.examples for each in snapshots]
    assert sorted(covered) == covered
    releases = [each.release for each in snapshots]
    assert sorted(releases) == releases
    return snapshots[releases.index("r0002")].examples
