"""The store is full, goes away, or is a cluster: nothing is lost, and the worker says so."""

from __future__ import annotations

import sys
from pathlib import Path

from ledger import judge_events, read_log
from processes import FAST_SESSION, until
from redis.asyncio import Redis

from cli.services.ports import free_port
from cli.services.valkey import EmbeddedValkey
from tidemill.topics import ALERTS, EVENTS
from tidemill.wire import Alert, decode

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))  # the test tree has no packages

from valkey_cluster import ValkeyCluster

STEPS = {"events", "updates", "join"}


async def test_a_full_store_pauses_the_worker_until_there_is_room(tmp_path, embedded, start):
    """Out of memory: scoring goes on, the worker waits and says so; with room all is made up."""
    with EmbeddedValkey(tmp_path / "valkey", free_port()) as server:
        service, ledger, client = await start(embedded.kafka, server.url, **FAST_SESSION)
        await client.some_events(40)
        await ledger.drained(client.sent)
        store = Redis.from_url(server.url)
        await store.config_set("maxmemory", "100kb")
        try:
            await client.some_events(200)
            answer = await client.score()
            await client.label(answer["request"]["ticket"])
            # What the step before it has sent, it cannot write: each of the two pauses by itself.
            await service.worker.says('"step": "updates", "error"')
            assert [] == (await client.score())["degraded"]
        finally:
            await store.config_set("maxmemory", "0")
            await store.aclose()
        await check_books(service, ledger, client)
        await check_alerts(service)
        assert 1 == service.worker.log.count('"updates", "seconds"')


async def test_a_store_that_was_away_is_announced(tmp_path, embedded, start):
    """Stopped and started again: one alert begins and one ends for each step that waited."""
    with EmbeddedValkey(tmp_path / "valkey", free_port()) as server:
        service, ledger, client = await start(embedded.kafka, server.url, **FAST_SESSION)
        await client.some_events(40)
        await ledger.drained(client.sent)
        port = server.port
        server.stop()
        await client.some_events(100)
        assert ["features"] == (await client.score())["degraded"]
        await service.worker.says("paused")
        with EmbeddedValkey(tmp_path / "valkey", port):
            await check_books(service, ledger, client)
            await check_alerts(service)


async def test_the_whole_loop_on_a_cluster(tmp_path, embedded, start):
    """Three nodes, and one of them away for a while: every event, label and example counts once."""
    with ValkeyCluster(tmp_path / "cluster") as cluster:
        settings = FAST_SESSION | {"TIDEMILL_REDIS_CLUSTER": "true"}
        service, ledger, client = await start(embedded.kafka, cluster.url, **settings)
        await client.some_events(100)
        for _ in range(10):
            answer = await client.score()
            await client.label(answer["request"]["ticket"])
        await ledger.drained(client.sent)
        node = cluster.nodes[1]
        port = node.port
        node.stop()
        await client.some_events(100)
        await service.worker.says("paused")
        node.restart_on(port)
        await check_books(service, ledger, client)


async def check_books(service, ledger, client):
    """Answers are whole again, and what is behind the fences agrees with the log."""

    async def whole():
        return (await client.score())["degraded"]

    await until("answers are whole again", whole, good=lambda found: found == [])
    await ledger.drained(client.sent)
    good, bad = judge_events(await read_log(service.kafka, EVENTS, client.sent[EVENTS]))
    assert [] == await ledger.windows_differ(good)
    counted = await ledger.fences("events")
    assert bad == counted["dead_letters"]
    applied = (await ledger.fences("updates"))["events_applied"]
    assert counted["events_accepted"] == applied == sum(len(events) for events in good.values())


async def check_alerts(service):
    """Each step that paused has said when it began, and when it ended."""

    async def alerts():
        records = (await read_log(service.kafka, ALERTS))[0]
        return [decode(Alert, record.value) for record in records]

    found = await until("alerts ended", alerts, good=all_ended)
    assert {"paused"} == {alert.name for alert in found}
    assert "updates" in {alert.subject for alert in found} <= STEPS | {"learn", "archive"}


def all_ended(alerts):
    """Whether there are alerts, and as many endings as beginnings with the same times."""
    sides = ("began", "ended")
    began, ended = ({(a.subject, a.began_ms) for a in alerts if a.state == s} for s in sides)
    return bool(began) and began == ended
