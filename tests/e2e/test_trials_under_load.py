"""A shadow that is better is promoted, and goes when it turns bad: under load, by itself."""

from __future__ import annotations

import asyncio
import itertools
import re
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from ledger import PARTITIONS, read_log
from processes import FAST_SESSION, until
from redis.asyncio import Redis
from trial_traffic import RATE, Crossings

from features.plan import compile_plan
from features.redis.store import RedisStore
from learners.release import TREES_FILE, ModelFile, release_files
from learners.snapshot import Snapshot
from streams.snapshots import read_missing
from tidemill.loading import load_project
from tidemill.registry import Manifest, Registry
from tidemill.roles import BY_TRIAL
from tidemill.topics import ALERTS, LABELS, MODELS, PREDICTIONS, Names
from tidemill.trial_report import TrialReport
from tidemill.wire import Alert, Announcement, Prediction, decode

PROJECT_FILE = Path(__file__).with_name("trial_project.py")
PROJECT = load_project(PROJECT_FILE)
PLAN = compile_plan(PROJECT)
NAMES = Names(PROJECT.name, PARTITIONS, PLAN.state, PLAN.schema.hash)
OLD, NEW = "r0001", "r0002"
THERE_AND_BACK = [OLD, NEW, OLD]
SEED = 41


async def test_a_better_shadow_is_promoted_and_goes_when_it_turns_bad_under_load(
    broker, endpoints, make, opened, tmp_path
):
    """No request fails, each release answers in its turn, and the journal says why."""
    registry = Registry(tmp_path, PROJECT.name)
    _publish(registry, _model("wind", 0.73), "champion")
    better = _model("swell", 0.9)
    session = FAST_SESSION if broker == "embedded" else {}
    service = make(endpoints.kafka, endpoints.redis, project_file=PROJECT_FILE, **session)
    for command in service.commands:
        command.start()
    await service.ready()
    watch, traffic = await _outside(service, registry, opened)

    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run(stopping))
        await until("the champion answers", watch.answered_by(OLD, traffic))
        _publish(registry, better, "challenger")
        await until("the shadow is promoted", watch.decided(1))
        await until("it answers", watch.answered_by(NEW, traffic))
        await until("the one before is compared with it", watch.compares())
        turned_ms = traffic.turn()
        await until("it is rolled back", watch.decided(2))
        await until("the one before answers again", watch.answered_by(OLD, traffic))
        stopping.set()
    await until("all is learned by it", watch.learned(len(traffic.answers)))

    _check_answers(traffic)
    await _check_log(service, traffic)
    await _check_announcements(service, traffic)
    examples, blocks = _check_journal(registry)
    report = await watch.report()
    assert (OLD, []) == (report.champion, report.arms)
    took_ms = report.now_ms - turned_ms
    assert 0 < took_ms <= PROJECT.trial.window_ms
    status = await service.get("/v1/status")
    assert (OLD, 0) == (status["model"]["release"], status["api"]["failed_total"])
    print(
        f"{traffic.asked} requests at {RATE} a second, 0 failed; promoted by {examples} examples "
        f"in {blocks} blocks, rolled back {took_ms / PROJECT.trial.block_ms:.0f} blocks after the "
        "turn"
    )
    assert [0, 0] == await service.stop()


async def _outside(service, registry, opened):
    """Who looks at a service, and who asks it."""
    producer = AIOKafkaProducer(bootstrap_servers=service.kafka, acks="all", linger_ms=5)
    await producer.start()
    opened.push_async_callback(producer.stop)
    redis = Redis.from_url(service.redis)
    opened.push_async_callback(redis.aclose)
    port = service.client.base_url.port
    return (
        Watch(service, registry, RedisStore(redis)),
        Crossings(port, producer, NAMES.topic(LABELS), SEED),
    )


class Watch:
    """What a service has come to, from outside."""

    def __init__(self, service, registry, store) -> None:
        self._service, self._registry, self._store = service, registry, store

    def decided(self, count):
        """True once the trial has entered so many changes of roles."""

        async def ask():
            for command in self._service.commands:
                command.require_alive()
            return len(decisions(self._registry)) >= count

        return ask

    def answered_by(self, release, traffic):
        """True when a whole second of answers was this release's."""

        async def ask():
            newest = traffic.answers[-RATE:]
            assert {200} >= {each.status for each in newest}
            return len(newest) == RATE and {release} == {each.release for each in newest}

        return ask

    async def report(self):
        """What the worker says of the trial; None before it does."""
        (data,) = await self._store.read([NAMES.trial()])
        return msgspec.json.decode(data, type=TrialReport) if data else None

    def compares(self):
        """True once some more blocks of the new champion and of the one before were compared."""
        blocks = []

        async def ask():
            report = await self.report()
            found = [(arm.release, arm.role) for arm in report.arms]
            if (NEW, [(OLD, "watched")]) != (report.champion, found):
                return False
            blocks.append(report.arms[0].blocks)
            return blocks[-1] >= blocks[0] + 3

        return ask

    def learned(self, count):
        """True once the champion of the beginning has learned so many examples, and serves."""

        async def ask():
            found = await read_missing(self._store, NAMES, PROJECT.learner.name, ("", 0))
            if not found:  # a writer came in between
                return False
            newest = Snapshot.decode(found[-1])
            assert newest.examples <= count
            return (OLD, count) == (newest.release, newest.examples)

        return ask


def decisions(registry):
    """What the trial has entered in the journal."""
    return [change for change in registry.standings().changes if change.by == BY_TRIAL]


def _model(feature, right):
    """A model that knows one feature: above 0 it says late, and is right in this share."""
    rng = np.random.default_rng(5)
    vectors = np.zeros((2_000, len(PLAN.schema.names)), np.float32)
    column = PLAN.schema.names.index(feature)
    vectors[:, column] = rng.normal(size=len(vectors))
    late = (vectors[:, column] > 0) == (rng.random(len(vectors)) < right)
    data = lightgbm.Dataset(vectors, late.astype(int), feature_name=[*PLAN.schema.names])
    settings = {"objective": "binary", "verbose": -1, "num_leaves": 2, "seed": 7, "num_threads": 1,
                "learning_rate": 0.3}  # fmt: skip
    return lightgbm.train(settings, data, 20).model_to_string().encode()


def _publish(registry, model, role):
    """The next release."""
    manifest = Manifest(
        registry.next_name(), PROJECT.name, PLAN.schema.hash, [*PLAN.schema.names], 1, 0, 1, 2_000,
        {}, {}, {}, {}, role=role,
    )  # fmt: skip
    registry.publish(manifest, release_files(ModelFile(TREES_FILE, model)))


def _check_answers(traffic):
    """None failed; all asked once the new one has answered is its, until the old one does again."""
    answers = traffic.answers
    assert ({200}, traffic.asked) == ({each.status for each in answers}, len(answers))
    missing = {word for each in answers for word in each.answer["degraded"]}
    assert missing <= {"features"}
    assert {OLD, NEW} == {each.release for each in answers}
    first = min(each.moment for each in answers if each.release == NEW)
    again = min(each.moment for each in answers if each.due > first and each.release == OLD)
    assert {OLD} == {each.release for each in answers if each.due > again}


async def _check_log(service, traffic):
    """Every answer is in the log, and in each partition one release comes after the other."""
    log = await read_log(service.kafka, PREDICTIONS, names=NAMES)
    logged = {p: [decode(Prediction, r.value) for r in records] for p, records in log.items()}
    for predictions in logged.values():
        assert THERE_AND_BACK == _one_after_the_other(each.release for each in predictions)
    told = {each.id: (each.release, each.snapshot) for found in logged.values() for each in found}
    assert told == {each.answer["prediction_id"]: each.version for each in traffic.answers}


async def _check_announcements(service, traffic):
    """What answered was announced, each in its turn; so were the two decisions, as alerts."""
    log = (await read_log(service.kafka, MODELS, names=NAMES))[0]
    said = [decode(Announcement, record.value) for record in log]
    champions = [
        each for each in said if (each.kind, each.learner) == ("snapshot", PROJECT.learner.name)
    ]
    assert THERE_AND_BACK == _one_after_the_other(each.release for each in champions)
    announced = {(each.release, each.snapshot) for each in champions} | {(OLD, 0)}
    assert {each.version for each in traffic.answers} <= announced
    alerts = [
        decode(Alert, r.value) for r in (await read_log(service.kafka, ALERTS, names=NAMES))[0]
    ]
    assert [("challenger_promoted", NEW), ("champion_rolled_back", OLD)] == [
        (each.name, each.subject) for each in alerts if each.subject in (OLD, NEW)
    ]


def _check_journal(registry):
    """Two entries by the trial, with the numbers that show why; those of the promotion."""
    promoted, rolled_back = decisions(registry)
    assert (NEW, "promoted", OLD) == (promoted.release, promoted.action, promoted.watched)
    assert (OLD, "rolled_back", NEW) == (
        rolled_back.release, rolled_back.action, rolled_back.instead_of
    )  # fmt: skip
    why = (
        rf"a loss (\d\.\d+) below {OLD}'s over (\d+) examples in (\d+) blocks, "
        r"(\d\.\d+) or more at alpha 0\.05"
    )
    found = re.fullmatch(why, promoted.why)
    assert found is not None, promoted.why
    gain, least, examples, blocks = (float(found[group]) for group in (1, 4, 2, 3))
    assert gain > least > 0
    assert examples >= PROJECT.trial.min_rows and blocks >= PROJECT.trial.min_blocks
    why = rf"{NEW}'s loss is (\d\.\d+) or more above what is allowed, within 1h"
    lost = re.fullmatch(why, rolled_back.why)
    assert lost is not None and float(lost[1]) > 0, rolled_back.why
    assert ("champion", "rolled_back") == tuple(map(registry.standings().role, (OLD, NEW)))
    return int(examples), int(blocks)


def _one_after_the_other(values):
    """The values in their order, without those that are as the one before."""
    return [value for value, _ in itertools.groupby(values)]
