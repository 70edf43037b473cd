"""A feature is added while the service serves: planned, backfilled, cut over; no request fails."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from ledger import PARTITIONS, PLAN, judge_events, read_log
from processes import FAST_SESSION, PROJECT_FILE, Command, Service, until
from redis.asyncio import Redis
from traffic import START_MS, Traffic

from features.columns import field_columns
from features.decoding import RequestDecoder
from features.freshness import applied_offsets
from features.plan import FeaturePlan, compile_plan
from features.redis.store import RedisStore
from features.replay import Replayer
from learners.release import TREES_FILE, ModelFile, release_files
from learners.snapshot import Snapshot
from tidemill.clock import SystemClock
from tidemill.loading import load_project
from tidemill.registry import Manifest, Registry
from tidemill.topics import EVENTS, MODELS, PREDICTIONS, Names
from tidemill.wire import Announcement, Prediction, decode

BEFORE = '        Window("sailed"'
ADDED = '        Window("boarded", boarded, ("sum", "count"), BOTH, ("6h",), of=boarded.weight),\n'
NEW_FEATURES = {f"boarded_{a}_{e}_6h" for a in ("sum", "count") for e in ("pier", "ferry")}


@dataclass(frozen=True)
class World:
    """A running service on a project file that is edited, with traffic on it."""

    service: Service
    traffic: Traffic
    file: Path
    store: Redis
    logs: Path

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """`tidemill ARGUMENTS` to its end: exit code, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidemill", *arguments,
            env=self.service.worker.environment, cwd=self.logs,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), 60)
        except TimeoutError:
            process.kill()
            raise
        return process.returncode or 0, out.decode(), err.decode()

    async def status(self) -> dict:
        """What the api says of the declaration it serves."""
        return (await self.service.get("/v1/status")).get("features", {})

    def publish(self, plan: FeaturePlan) -> str:
        """A release for a declaration; returns its name."""
        rng = np.random.default_rng(5)
        names = list(plan.schema.names)
        vectors = rng.normal(size=(600, len(names))).astype(np.float32)
        labels = (vectors[:, 0] + rng.normal(scale=0.3, size=600) > 0).astype(int)
        data = lightgbm.Dataset(vectors, labels, feature_name=names)
        settings = {"objective": "binary", "verbose": -1, "num_leaves": 5, "num_threads": 1}
        text = lightgbm.train(settings, data, 8).model_to_string().encode()
        registry = Registry(self.service.home, plan.project.name)
        name = registry.next_name()
        manifest = Manifest(
            name, plan.project.name, plan.schema.hash, names, 1, 0, 1, 600, {}, {}, {}, {}
        )
        registry.publish(manifest, release_files(ModelFile(TREES_FILE, text)))
        return name

    async def announce(self, release: str) -> None:
        """Put a release on the models topic, as retrain does."""
        producer = AIOKafkaProducer(bootstrap_servers=self.service.kafka)
        await producer.start()
        record = Announcement("release", "head", release, 0, "", START_MS)
        await producer.send_and_wait(f"{PLAN.project.name}.{MODELS}", record.encode(), key=b"head")
        await producer.stop()


@pytest.fixture
async def world(embedded, make, publish, meet, tmp_path, opened):  # noqa: PLR0913 - fixtures
    """The service of the test project, on a copy of its file."""
    file = tmp_path / "ferries" / "project.py"
    file.parent.mkdir()
    shutil.copy(PROJECT_FILE, file)
    publish()
    settings = FAST_SESSION | {"TIDEMILL_ARCHIVE_INTERVAL_MS": "300"}
    service = make(embedded.kafka, embedded.redis, project_file=file, **settings)
    for command in service.commands:
        command.start()
    await service.ready()
    _, traffic = await meet(service)
    store = Redis.from_url(service.redis)
    opened.push_async_callback(store.aclose)
    logs = tmp_path / "second"
    logs.mkdir()
    return World(service, traffic, file, store, logs)


async def test_a_feature_is_added_while_the_service_serves(world, opened):
    """Edit, plan, backfill, a second worker, a release, cut over, drop: no request fails."""
    stop = asyncio.Event()
    await world.traffic.some_events(240)
    traffic = asyncio.create_task(world.traffic.run(stop))
    await until("something was learned", lambda: _examples(world, PLAN), good=lambda n: n > 5)

    world.file.write_text(world.file.read_text().replace(BEFORE, ADDED + BEFORE))
    plan = compile_plan(load_project(world.file))
    names = Names(plan.project.name, PARTITIONS, plan.state, plan.schema.hash)
    await _planned(world, plan)
    await _refused_without_backfill(world)
    await _backfilled(world, plan)

    second = Command("worker", (str(world.file),), world.service.worker.environment, world.logs)
    opened.callback(second.kill)
    second.start()
    release = world.publish(plan)
    await world.announce(release)
    await until("the new schema serves", world.status,
                good=lambda found: found.get("schema") == plan.schema.hash)  # fmt: skip
    scored = world.traffic.scores
    await until("it answers", _more_than(world.traffic, scored + 20))
    assert 0 == await world.service.worker.stop()
    await until("the new learner learns", lambda: _examples(world, plan), good=lambda n: n > 3)
    stop.set()
    await traffic
    assert {} == dict(world.traffic.refused)

    await _all_applied(world, names)
    await _vectors_are_right(world, plan)
    await _dropped(world, plan)


async def _planned(world: World, plan: FeaturePlan) -> None:
    code, out, err = await world.run("plan", str(world.file), "--json")
    assert (0, "") == (code, err)
    found = json.loads(out)
    assert NEW_FEATURES == set(found["added"])
    assert ([], {}, plan.schema.hash) == (
        found["removed"], found["changed"], found["schema"]["to"],
    )  # fmt: skip
    assert {"pier", "ferry"} == set(found["backfill"]["entities"])
    assert found["backfill"]["events"] > 200
    code, out, _ = await world.run("plan", str(world.file))
    assert (0, True) == (code, f"tidemill backfill {world.file}" in out)
    assert "+ boarded_sum_pier_6h: kind window, event boarded, of weight" in out


async def _refused_without_backfill(world: World) -> None:
    code, _, err = await world.run("worker", str(world.file))
    assert (2, 1) == (code, err.count("tidemill backfill"))
    assert "Traceback" not in err


async def _backfilled(world: World, plan: FeaturePlan) -> None:
    code, out, err = await world.run("backfill", str(world.file), "--json")
    assert (0, "") == (code, err)
    done = json.loads(out)
    assert (True, plan.state) == (done["made"], done["state"])
    assert done["events"] > 200 and done["entities"] >= 12
    code, out, _ = await world.run("backfill", str(world.file))
    assert (0, True) == (code, "nothing to backfill" in out)


async def _examples(world: World, plan: FeaturePlan) -> int:
    """How many examples the learner of a declaration has learned."""
    names = Names(plan.project.name, PARTITIONS, plan.state, plan.schema.hash)
    data = await world.store.get(names.snapshot("head"))
    return Snapshot.decode(data).examples if data else 0


def _more_than(traffic: Traffic, count: int):
    async def more() -> bool:
        return traffic.scores > count

    return more


async def _all_applied(world: World, names: Names) -> None:
    """Wait until the new state has had every event."""

    async def applied() -> bool:
        found = await applied_offsets(RedisStore(world.store), names)
        return all(found.get(p, 0) >= end for p, end in world.traffic.sent[EVENTS].items())

    await until("the new state has every event", applied)


async def _vectors_are_right(world: World, plan: FeaturePlan) -> None:
    """Old predictions keep schema and width; new ones are, byte for byte, those of a replay."""
    answers = [await world.traffic.score() for _ in range(20)]
    log = await read_log(world.service.kafka, PREDICTIONS)
    logged = {p.id: p for rows in log.values() for r in rows for p in [decode(Prediction, r.value)]}
    kinds = {(p.schema, p.release, len(p.vector) // 4) for p in logged.values()}
    old, new = len(PLAN.schema.names), len(plan.schema.names)
    assert {(PLAN.schema.hash, "r0001", old), (plan.schema.hash, "r0002", new)} == kinds
    good, _ = judge_events(await read_log(world.service.kafka, EVENTS, world.traffic.sent[EVENTS]))
    replayer = Replayer(plan)
    for kind, events in good.items():
        event = plan.project.events[kind]
        ordered = sorted(events, key=lambda each: each.time)
        replayer.apply(event.name, field_columns(event.columns, ordered))
    decoder = RequestDecoder(plan.project, SystemClock(), 3_600_000)
    bodies = [json.dumps(answer["request"]).encode() for answer in answers]
    columns = field_columns(plan.project.request.columns, [decoder.decode(b) for b in bodies])
    for answer, vector in zip(answers, replayer.vectors(columns), strict=True):
        assert vector.tobytes() == logged[answer["prediction_id"]].vector
    place = plan.schema.names.index("boarded_sum_pier_6h")
    assert (replayer.vectors(columns)[:, place] > 0).all()


async def _dropped(world: World, plan: FeaturePlan) -> None:
    """The old state leaves the store; the one that serves cannot."""
    code, _, err = await world.run("features", "drop", str(world.file), plan.state)
    assert (2, True) == (code, PLAN.state in err)
    code, out, _ = await world.run("features", "drop", str(world.file), PLAN.state, "--json")
    assert (0, PLAN.state) == (code, json.loads(out)["state"])
    assert [] == [key async for key in world.store.scan_iter(match=f"*{PLAN.state}*")]
    assert 200 == (await world.service.client.post("/v1/score", json={
        "ticket": "last", "pier": "p1", "ferry": "f1", "distance": 1.0})).status_code  # fmt: skip
