"""Bytewax with state: a stateful map that keeps counts and sums per card, one worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from bench.peers.tally import Tally, Task

Total = tuple[int, float]


class _Nowhere(DynamicSink[Any]):  # type: ignore[misc]
    """A dataflow needs a sink: this one drops what it gets."""

    def build(self, *_: Any) -> StatelessSinkPartition[Any]:
        return _NowhereAtAll()


class _NowhereAtAll(StatelessSinkPartition[Any]):  # type: ignore[misc]
    def write_batch(self, items: Sequence[Any]) -> None:
        pass


def main() -> None:
    """Read until the task is done."""
    tally = Tally(Task.from_arguments())
    totals = tally.totals

    def count(total: Total | None, payment: dict[str, Any]) -> tuple[Total, Total]:
        counted, summed = total or (0, 0.0)
        now = counted + 1, summed + payment["amount"]
        totals[payment["card"]] = [*now]
        if tally.note(payment["amount"]):
            tally.end()
        return now, now

    def read(message: Any) -> tuple[str, dict[str, Any]]:
        payment = json.loads(message.value)
        return payment["card"], payment

    flow = Dataflow("payments")
    messages = op.input("in", flow, KafkaSource([tally.task.broker], [tally.task.topic]))
    payments = op.map("decode", messages, read)
    counted = op.stateful_map("count", payments, count)
    op.output("out", counted, _Nowhere())
    cli_main(flow)


if __name__ == "__main__":
    main()
