"""A stock Faust agent: it decodes JSON and keeps counts and sums per card in a dictionary."""

from __future__ import annotations

from typing import Any

import faust

from bench.peers.tally import Tally, Task


def main() -> None:
    """Read until the task is done."""
    tally = Tally(Task.from_arguments())
    task, totals = tally.task, tally.totals
    app = faust.App(
        task.group, broker=f"kafka://{task.broker}", store="memory://", web_enabled=False,
        consumer_auto_offset_reset="earliest", topic_partitions=task.partitions,
        topic_disable_leader=True,
    )  # fmt: skip
    topic = app.topic(task.topic, value_serializer="json", key_serializer="raw")

    @app.agent(topic)
    async def count(payments: faust.StreamT[Any]) -> None:
        async for payment in payments:
            total = totals.setdefault(payment["card"], [0, 0.0])
            total[0] += 1
            total[1] += payment["amount"]
            if tally.note(payment["amount"]):
                tally.end()

    faust.Worker(app, loglevel="error").execute_from_commandline()


if __name__ == "__main__":
    main()
