"""Crashes at random moments: what was learned, counted and archived is what lies in the log."""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest
from ledger import judge_events, places, read_log
from processes import FAST_SESSION, until

from tidemill.topics import EVENTS

KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "3"))
RECOVERY_SECONDS = 90.0


@pytest.mark.parametrize("broker", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def test_kills_lose_nothing_and_repeat_nothing(broker, request, start):
    """Worker and api die by SIGKILL while events, scores and labels flow; every book agrees."""
    rng = random.Random(20)
    endpoints = request.getfixturevalue("embedded" if broker == "embedded" else "on_kafka")
    # Apache Kafka refuses sessions below 6 s.
    session = FAST_SESSION if broker == "embedded" else {}
    service, ledger, client = await start(endpoints.kafka, endpoints.redis, 20, **session)

    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(client.run(stopping))
        for number in range(KILLS):
            await asyncio.sleep(rng.uniform(0.2, 2.5))  # the random moment is what is tested
            victims = [(service.worker,), (service.api,), (service.worker, service.api)][number % 3]
            await _kill(service, victims, rng)
        stopping.set()

    await _check_books(service, ledger, client)


@pytest.mark.kafka
async def test_a_killed_broker_stops_the_work_and_loses_nothing(kafka, valkey, start):
    """Kafka dies by SIGKILL: worker and api say so, wait, and go on; nothing is lost."""
    service, ledger, client = await start(kafka.address, valkey.url, 21)

    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(client.run(stopping))
        await until("examples are learned", lambda: _learned(ledger), RECOVERY_SECONDS)
        os.kill(kafka.pid, 9)
        await until("the api says that the broker is gone", lambda: _lacks(service, "broker"))
        await service.worker.says("Unable connect to node")
        kafka.stop()
        kafka.start()
        await service.ready()
        before = await _learned(ledger)
        await until("learning goes on", lambda: _learned(ledger), RECOVERY_SECONDS,
                    good=lambda learned: learned > before)  # fmt: skip
        stopping.set()

    await _check_books(service, ledger, client)


async def _kill(service, victims, rng):
    """Kill and start again; once in three times kill the restart too, before it is done."""
    for command in victims:
        command.kill()
    for command in victims:
        command.start()
    if rng.random() < 1 / 3:
        await asyncio.sleep(rng.uniform(0.5, 3))
        for command in victims:
            command.kill()
            command.start()
    restarted_ms = time.time() * 1000

    async def works():
        if not (await service.get("/readyz")).get("ready"):
            return False
        return ((await service.get("/v1/status"))["worker"]["seen_ms"] or 0) > restarted_ms

    await until("both work again", works, RECOVERY_SECONDS)


async def _learned(ledger):
    snapshot = await ledger.snapshot()
    return snapshot.examples if snapshot else 0


async def _lacks(service, what):
    return what in (await service.get("/readyz")).get("missing", {})


async def _check_books(service, ledger, client):
    """Work everything off, end cleanly, and compare log, fences, learner, store and archive."""
    await ledger.drained(client.sent)
    expected = (await ledger.fences("join"))["joined"]

    async def learned():
        totals = await ledger.totals()
        return [totals.joined, totals.examples_in_log, totals.sequences, totals.learned]

    await until("every example is learned once", learned, RECOVERY_SECONDS,
                good=lambda found: found == [expected] * 4)  # fmt: skip
    assert expected > 0

    events = await read_log(service.kafka, EVENTS, client.sent[EVENTS])
    good, bad = judge_events(events)
    read = len(places(events))
    wanted = {"events_read": read, "events_applied": read - bad, "dead_letters": bad}

    async def counted():
        counts = (await service.get("/v1/status"))["worker"].get("counts", {})
        return {name: counts.get(name) for name in wanted}

    await until("the status counts the log", counted, good=lambda found: found == wanted)
    assert [] == await ledger.windows_differ(good)

    print(
        f"events {wanted}; {await ledger.totals()}; worker starts {service.worker.starts}, "
        f"api starts {service.api.starts}; answers other than 200 {dict(client.refused)}"
    )

    await ledger.archived(client.sent[EVENTS])
    assert [0, 0] == await service.stop()
    await ledger.archived(client.sent[EVENTS])
