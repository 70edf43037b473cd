"""A producer turns its labels round: learning pauses, serving goes on, and skipping heals it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from zlib import crc32

import flights
import numpy as np
from flights import PLAN, Flights, publish, some_days, train
from learning_books import learned_anew, read_examples, read_held
from ledger import read_log
from processes import FAST_SESSION, until
from redis.asyncio import Redis

from batch.datasets.dataset import Dataset
from batch.gate.serving import serve
from cli.demo.backfill import Backfill
from cli.demo.client import HttpClient
from cli.demo.options import DemoOptions
from cli.demo.progress import Progress
from cli.demo.replay import Connections, Replay
from cli.demo.timeline import Range
from cli.wiring import connect_producer
from features.redis.store import RedisStore
from learners.families import warm_start
from learners.quality.measures import auc
from learners.release import load_release
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.registry import Registry
from tidemill.topics import ALERTS, PREDICTIONS, QUARANTINE
from tidemill.wire import Alert, Prediction, Quarantined, decode

BASE_DAYS = int(os.environ.get("TIDEMILL_TEST_BASE_DAYS", "4"))  # 120: January to April
DAYS = int(os.environ.get("TIDEMILL_TEST_DAYS", "4"))  # replayed after them; 14 for the claim
LIAR, SHARE = "liar", 30  # per cent
WINDOW = PLAN.project.breaker.window
TOLERANCE = 0.005 if DAYS >= 14 else 0.03  # of a few hundred flights little can be said
NAMES = flights.names_of(4)
START_MS = (date(2013, 1, 1) - date(1970, 1, 1)).days * DAY_MS + BASE_DAYS * DAY_MS
SPAN = Range(START_MS, START_MS + DAYS * DAY_MS, HOUR_MS)
LIES_MS = START_MS + 3 * DAY_MS // 2  # the breaker's first window is over
REPAIRED_MS = LIES_MS + 2 * DAY_MS


def producer_of(key: str) -> str:
    """Ten producers, one of which sends three labels in ten."""
    number = crc32(key.encode()) % 100
    return LIAR if number < SHARE else f"honest{number % 9}"


@dataclass(frozen=True)
class Told(DemoOptions):
    """The days to replay, which need not begin with a month."""

    @property
    def span(self) -> Range:
        """The stream time to replay."""
        return SPAN


class Poisoned(Replay):
    """Every label names its producer; for a while those of the liar are wrong."""

    def _prepare(self, step):
        prepared = super()._prepare(step)
        return dataclasses.replace(
            prepared,
            labels=[(key, _told(body)) for key, body in prepared.labels],
            over_http=[_told(body) for body in prepared.over_http],
        )


def _told(body: bytes) -> bytes:
    label = json.loads(body)
    label["producer"] = producer_of(label["key"])
    if label["producer"] == LIAR and LIES_MS <= label["time"] < REPAIRED_MS:
        label["value"] = 1 - label["value"]
    return json.dumps(label).encode()


async def test_a_producer_that_lies_pauses_learning_and_skipping_its_labels_heals_it(
    embedded, make, opened, tmp_path
):
    """The breaker names it; served scores are as good after the repair as if it had not lied."""
    history = some_days(tmp_path, 1, BASE_DAYS + DAYS)
    base = Backfill(PLAN, history, START_MS, HOUR_MS)
    chosen, found = base.run()
    known = Flights.labelled(history, chosen, found)
    model = train(known.vectors, known.labels, rounds=100 if BASE_DAYS < 100 else 200, leaves=63)
    registry = Registry(tmp_path, PLAN.project.name)
    publish(registry, model, len(known), {})
    store = Redis.from_url(embedded.redis)
    opened.push_async_callback(store.aclose)
    await RedisStore(store).write(list(base.blobs(NAMES)))
    service = make(
        embedded.kafka, embedded.redis, project_file=flights.PROJECT_FILE,
        **FAST_SESSION,
    )  # fmt: skip
    for command in service.commands:
        command.start()
    await service.ready()

    progress, seen = Progress(), []
    await _replay(service, history, progress, seen)
    (paused,) = seen
    predictions = await _predictions(service)
    examples = await _drained(service, store, progress)

    assert 0 == progress.failed
    assert ("producer_loss", "paused") == (paused["reason"], paused["state"])
    assert LIAR in paused["message"]
    lies = [o for o, e in examples.distinct.values() if e.producer == LIAR and _is_lie(e)]
    assert lies[0] <= paused["first_offset"] + WINDOW <= lies[0] + 2 * WINDOW
    await _told_and_put_aside(service, paused, examples)
    _served_what_was_good(predictions, paused["snapshot"])
    held = await _left_out(store, registry, paused, examples)

    served, clean = _rest(predictions, history, registry)
    print(
        f"{progress.scored} flights, {len(lies)} lies, of {SHARE} % of the traffic; paused at "
        f"offset {paused['first_offset']} ({paused['message']}), {paused['quarantined']} put "
        f"aside; snapshot {held.number}; AUC after the repair {served:.4f}, clean {clean:.4f}"
    )
    assert abs(served - clean) < TOLERANCE
    assert [0, 0] == await service.stop()


async def _replay(service, history, progress, seen):
    """The days as the demo replays them; at the repair an operator skips what was put aside."""

    async def between(step):
        if not seen and step.barrier_ms >= REPAIRED_MS:
            seen.append(await _resume(service, progress))
        return False

    port = service.client.base_url.port
    async with connect_producer(service.kafka, NAMES) as producer:
        with (
            closing(HttpClient("127.0.0.1", port, 16)) as scores,
            closing(HttpClient("127.0.0.1", port, 2)) as labels,
            closing(HttpClient("127.0.0.1", port, 1)) as others,
        ):
            connections = Connections(scores, labels, others, producer)
            await Poisoned(PLAN.project, history, Told(), connections, progress).run(between)


async def _resume(service, progress):
    """Wait until all that was sent is learned or put aside, then skip; what the status said."""

    async def aside():
        found = await _learn(service, "status")
        return found if _settled(found, progress) else {}

    paused = await until("all is put aside", aside)
    resumed = await _learn(service, "resume", "--skip")
    assert "learning" == resumed["state"]
    return paused


def _settled(found, progress):
    return found["first_offset"] + found["quarantined"] >= progress.labels_sent


async def _learn(service, verb, *more):
    """`tidemill learn VERB FILE --json`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidemill", "learn", verb, str(flights.PROJECT_FILE), "--json"),
        *more, env=service.worker.environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert 0 == process.returncode, err.decode()
    return json.loads(out)


async def _predictions(service):
    log = await read_log(service.kafka, PREDICTIONS, names=NAMES)
    found = [decode(Prediction, r.value) for records in log.values() for r in records]
    return sorted(found, key=lambda each: each.time)


async def _drained(service, store, progress):
    """Wait until every label is an example that was learned, or left out; the examples."""

    async def joined():
        found = await read_examples(service.kafka, NAMES)
        offset = int(await store.hget(NAMES.fence("learn", 0), "offset:examples") or 0)
        return (
            found if len(found.distinct) >= progress.labels_sent and offset >= found.end else None
        )

    return await until("everything is learned", joined)


def _is_lie(example):
    return LIES_MS <= example.label_time < REPAIRED_MS


async def _told_and_put_aside(service, paused, examples):
    """The alert names the producer, and the quarantine holds every example of the pause."""
    alerts = [
        decode(Alert, r.value) for r in (await read_log(service.kafka, ALERTS, names=NAMES))[0]
    ]
    about = [alert for alert in alerts if alert.name == "learning_paused"]
    assert ["began", "ended"] == [alert.state for alert in about]
    assert LIAR in about[0].message
    log = (await read_log(service.kafka, QUARANTINE, names=NAMES))[0]
    aside = [decode(Quarantined, record.value).offset for record in log]
    first = paused["first_offset"]
    expected = [o for o, _ in examples.distinct.values() if first <= o][: paused["quarantined"]]
    assert expected == aside


def _served_what_was_good(predictions, snapshot):
    """While learning is paused the last good snapshot answers, and later ones afterwards."""
    before = [each.snapshot for each in predictions if each.time < REPAIRED_MS]
    assert snapshot == max(before) == before[-1]
    assert predictions[-1].snapshot > snapshot


async def _left_out(store, registry, paused, examples):
    """The state is that of a learner that never saw what was put aside; its snapshot's record."""
    held = await read_held(RedisStore(store), NAMES, registry)
    first = paused["first_offset"]
    skipped = (first, first + paused["quarantined"])
    assert [skipped] == held.record.skipped
    learned = examples.between(0, skipped[0]) + examples.between(skipped[1], examples.end)
    assert len(learned) == held.record.examples
    assert learned_anew(registry, "r0001", learned) == held.learner.snapshot()
    return held.record


def _rest(predictions, history, registry):
    """AUC over what was asked after the repair: as served, and as if nobody had lied."""
    said = dict(zip(history.labels["key"].tolist(), history.labels["value"].tolist(), strict=True))
    when = dict(zip(history.labels["key"].tolist(), history.labels["time"].tolist(), strict=True))
    keys = np.array([each.key for each in predictions], dtype=object)
    order = np.argsort([when[key] for key in keys], kind="stable")
    vectors = np.stack([np.frombuffer(each.vector, "<f4") for each in predictions])
    ones, scores = np.ones(len(keys)), np.array([each.score for each in predictions])
    data = Dataset(
        keys, vectors, np.array([said[key] for key in keys], np.float64),
        np.array([each.time for each in predictions]), np.array([when[key] for key in keys]),
        scores, scores, ones == 1, ones,
    ).take(order)  # fmt: skip
    release = load_release(registry, "r0001", PLAN.project)
    clean = serve(warm_start(PLAN.project.learner, release, PLAN.schema), data)
    rest = data.times >= REPAIRED_MS
    return tuple(auc(data.labels[rest], each[rest]) for each in (data.scores, clean))
