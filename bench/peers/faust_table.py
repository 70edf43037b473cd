"""A Faust Table with its changelog, in memory as by default: counts and sums per card."""

from __future__ import annotations

from typing import Any

import faust

from bench.peers.tally import Tally, Task


def main() -> None:
    """Read until the task is done."""
    tally = Tally(Task.from_arguments())
    task = tally.task
    app = faust.App(
        task.group, broker=f"kafka://{task.broker}", store="memory://", web_enabled=False,
        consumer_auto_offset_reset="earliest", topic_partitions=task.partitions,
        topic_disable_leader=True,
    )  # fmt: skip
    topic = app.topic(task.topic, value_serializer="json", key_serializer="raw")
    table = app.Table("totals", default=lambda: [0, 0.0], partitions=task.partitions)

    @app.agent(topic)
    async def count(payments: faust.StreamT[Any]) -> None:
        async for payment in payments:
            counted, total = table[payment["card"]]
            table[payment["card"]] = [counted + 1, total + payment["amount"]]
            if tally.note(payment["amount"]):
                tally.end({key: list(value) for key, value in table.items()})

    faust.Worker(app, loglevel="error").execute_from_commandline()


if __name__ == "__main__":
    main()
