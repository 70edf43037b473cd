"""Memory of a worker, and of the store, with a million entities of twenty window features.

Every card has one payment, in random order, so that the worker has touched each of them at the
end; `worker_peak` is the largest resident size of its process, all its libraries included,
`worker_start` the size at the first commit. `state` is one entity's packed state as it is stored,
`store_entity` the growth of the store's used_memory for each. On Apache Kafka where KAFKA_HOME is
set, else on the embedded broker.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from bench._result import own_versions, result
from bench._traffic import Payments, make_payments, produce
from bench._worker import apache_kafka, bench_of, embedded, peak_bytes, run_worker
from cli.kafka_bus import ensure_topics
from tidemill.topics import EVENTS

ENTITIES, QUICK_ENTITIES = 1_000_000, 10_000


def one_each(entities: int, end_ms: int) -> Payments:
    """One payment of each card."""
    some = make_payments(entities, end_ms)
    cards = np.random.default_rng(7).permutation(entities)
    return Payments(cards, some.shops, some.devices, some.amounts, some.times)


def run(quick: bool) -> dict[str, object]:
    """Stream one event of each entity and look at the processes."""
    entities, kafka_home = QUICK_ENTITIES if quick else ENTITIES, os.environ.get("KAFKA_HOME")
    apache = kafka_home is not None and not quick
    now_ms, started = time.time_ns() // 1_000_000, list[int]()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        services = apache_kafka(home, Path(kafka_home or "")) if apache else embedded(home)
        with services as endpoints:
            bench = bench_of("one_entity", endpoints, home / "worker", apache=apache)
            topic, partitions = bench.names.topic(EVENTS), bench.names.partitions
            asyncio.run(ensure_topics(endpoints.kafka, bench.names))
            payments = one_each(entities, now_ms)
            asyncio.run(produce(endpoints.kafka, topic, partitions, payments, now_ms))
            with bench.client() as client:
                before = int(client.info("memory")["used_memory"])
                found = run_worker(bench, entities, lambda pid: started.append(peak_bytes(pid)))
                grown = int(client.info("memory")["used_memory"]) - before
                stored = sum(1 for _ in client.scan_iter("*:card:*", count=10_000))
    samples: dict[str, tuple[str, list[float]]] = {
        "worker_peak": ("bytes", [found.peak_bytes]),
        "worker_start": ("bytes", [started[0]]),
        "state": ("bytes", [bench.plan.entities[0].bytes]),
        "store_entity": ("bytes", [grown / entities]),
        "entities": ("1", [entities]),
    }
    skipped = {} if apache else {"kafka": "--quick" if quick else "KAFKA_HOME is not set"}
    return result(
        "memory", samples, equal=stored == entities, ratios={}, skipped=skipped,
        versions=own_versions("numba", "numpy", "redis"),
    )  # fmt: skip
