"""Alerts wait for the broker, never for their caller, and are written in order."""

import asyncio

from stream_world import World

from streams.alerts import Alerts
from tidemill.topics import ALERTS
from tidemill.wire import Alert, decode


def written(world: World) -> list[Alert]:
    """The alerts in the log."""
    return [decode(Alert, message.value) for message in world.bus.log(ALERTS)]


async def test_alerts_are_written_with_their_beginning(world: World) -> None:
    """The end of an alert names the time it began."""
    alerts, stopping = Alerts(world.context.producer, world.clock), asyncio.Event()
    began = alerts.began("paused", "fold", "gone")
    world.clock.advance(5_000)
    ended = alerts.ended(began, "resumed")
    stopping.set()
    await alerts.run(stopping)
    now = world.clock.now_ms()
    assert Alert("paused", "fold", "ended", "resumed", now, now - 5_000) == ended
    assert [began, ended] == written(world)


async def test_alerts_wait_for_a_broker_that_is_away(world: World) -> None:
    """What came while the broker was gone is written once it is back."""
    alerts, stopping = Alerts(world.context.producer, world.clock, 0.001), asyncio.Event()
    world.bus.reachable = False
    began = alerts.began("paused", "fold", "gone")
    task = asyncio.create_task(alerts.run(stopping))
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert [] == written(world)
    world.bus.reachable = True
    async with asyncio.timeout(10):
        while not written(world):
            await asyncio.sleep(0.001)
        stopping.set()
        await task
    assert [began] == written(world)


async def test_a_stop_does_not_wait_for_a_broker_that_is_away(world: World) -> None:
    """A worker that ends leaves its last alerts to its log."""
    alerts, stopping = Alerts(world.context.producer, world.clock, 60.0), asyncio.Event()
    world.bus.reachable = False
    alerts.began("paused", "fold", "gone")
    task = asyncio.create_task(alerts.run(stopping))
    await asyncio.sleep(0)
    stopping.set()
    async with asyncio.timeout(5):
        await task
