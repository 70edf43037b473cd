"""quixstreams without state: it decodes JSON and maps each payment to another value."""

from __future__ import annotations

from typing import Any

from quixstreams import Application

from bench.peers.tally import Tally, Task


def main() -> None:
    """Read until the task is done."""
    tally = Tally(Task.from_arguments())
    task = tally.task
    app = Application(
        broker_address=task.broker, consumer_group=task.group, auto_offset_reset="earliest",
        loglevel="ERROR",
    )  # fmt: skip

    def amount(payment: dict[str, Any]) -> dict[str, Any]:
        if tally.note(payment["amount"]):
            tally.end()
        return {"card": payment["card"], "amount": payment["amount"]}

    payments = app.dataframe(app.topic(task.topic, value_deserializer="json"))
    payments.apply(amount)
    app.run()


if __name__ == "__main__":
    main()
