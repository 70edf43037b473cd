"""Puts an announcement on the models topic, so that worker and api look at once."""

from __future__ import annotations

import asyncio

from tidemill.declaration import Project
from tidemill.settings import Settings
from tidemill.topics import MODELS, Names
from tidemill.wire import Announcement


def announce(project: Project, settings: Settings, announcement: Announcement) -> None:
    """Send it and wait until the broker has it. Raises BusUnavailable."""
    asyncio.run(_send(project, settings, announcement))


async def _send(project: Project, settings: Settings, announcement: Announcement) -> None:
    from cli.broker import broker_of
    from cli.kafka_bus import ensure_topics
    from cli.wiring import connect_producer

    names, broker = Names(project.name, settings.partitions), broker_of(settings)
    await ensure_topics(broker, names)
    record = (announcement.learner.encode(), announcement.encode())
    async with connect_producer(broker, names) as producer:
        await producer.send_many(MODELS, [record], 0)
