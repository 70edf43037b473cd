"""Predictions of before, replayed from the archive and the releases: bit for bit, whatever came."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time

import lightgbm
import numpy as np
from aiokafka import AIOKafkaProducer
from ledger import NAMES, PLAN, PROJECT, read_log
from processes import FAST_SESSION, PROJECT_FILE, until
from traffic import START_MS

from batch.publish.orders import Order, challenge
from learners.release import TREES_FILE, ModelFile, release_files
from tidemill.registry import Manifest, Registry
from tidemill.topics import EVENTS, EXAMPLES, MODELS, PREDICTIONS
from tidemill.wire import Announcement, Example, Prediction, decode

SWAPS = int(os.environ.get("TIDEMILL_TEST_SWAPS", "10"))
CANARY = min(3, SWAPS - 1)  # the swap that sets a release beside the champion instead
CHOSEN, REPLAY_SECONDS, HTTP_SECONDS = 50, 240, 150.0


async def test_fifty_predictions_replay_bit_for_bit_after_ten_swaps_and_a_restart(
    broker, endpoints, make, meet, tmp_path
):
    """Features, weights and scores; by the command, and one over HTTP."""
    session = FAST_SESSION if broker == "embedded" else {}
    told = {"TIDEMILL_ARCHIVE_INTERVAL_MS": "200"} | session
    service = make(endpoints.kafka, endpoints.redis, **told)
    registry = Registry(tmp_path, PROJECT.name)
    for command in service.commands:
        command.start()
    await service.ready()
    ledger, client = await meet(service, 30)
    for swap in range(SWAPS):
        # What becomes known while a request is scored may be in its vector or not.
        await client.some_events(24)
        await ledger.drained(client.sent)
        await _swapped_under_load(service, client, registry, swap)
        if swap == SWAPS // 2:
            await _restart(service)
    await ledger.drained(client.sent)
    await ledger.archived(client.sent[EVENTS])

    log = await read_log(service.kafka, PREDICTIONS)
    logged = [decode(Prediction, r.value) for records in log.values() for r in records]
    chosen = random.Random(31).sample(sorted({each.id for each in logged}), CHOSEN)
    for times in (1, 2):  # from the releases on, and from what the first has kept
        found = await asyncio.to_thread(_replay, service, chosen)
        assert [] == [each for each in found["predictions"] if not each["exact"]], times
        assert chosen == [each["id"] for each in found["predictions"]]
    learned = {(each["release"], each["snapshot"]) for each in found["predictions"]}
    assert SWAPS // 2 < len({release for release, _ in learned})
    assert CHOSEN // 4 < len(learned)
    assert {"champion", "canary"} == {each["arm"] for each in found["predictions"]}
    assert SWAPS * 8 < max(each["weights"]["offset"] for each in found["predictions"])
    await _replayed_over_http(service, chosen[0], found["predictions"][0])
    print(f"{CHOSEN} of {len(logged)} predictions, {len(learned)} snapshots, all exact")
    assert [0, 0] == await service.stop()


async def _swapped_under_load(service, client, registry, swap):
    """Publish a release while requests and labels run, and until it has answered some."""
    stop, answered, known = asyncio.Event(), [], await _trained_to(service)

    async def ask():
        tickets = []
        while not stop.is_set() or tickets:
            if not stop.is_set():
                answer = await client.score()
                answered.append(answer["model"]["release"])
                tickets.append(answer["request"]["ticket"])
            if stop.is_set() or len(tickets) > 3:
                await client.label(tickets.pop(0))

    async def several():
        return answered.count(release) >= 8

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(ask())
        release = await _publish(service, registry, swap, known)
        await until(f"{release} answers", several)
        stop.set()


async def _trained_to(service):
    """The offsets of a release trained on the first three quarters of the examples so far."""
    log = (await read_log(service.kafka, EXAMPLES))[0]
    used = [decode(Example, record.value) for record in log[: len(log) * 3 // 4]]
    offsets = {"examples:0": log[len(used)].offset} if used else {}
    for example in used:
        name = f"sequence:{example.partition}"
        offsets[name] = max(example.sequence, offsets.get(name, 0))
    return offsets


async def _publish(service, registry, seed, offsets):
    """A release trained to these offsets, announced; its name."""
    name = registry.next_name()
    role = "challenger" if seed == CANARY else "champion"
    manifest = Manifest(
        name, PROJECT.name, PLAN.schema.hash, PROJECT.feature_names, 1, 0, 1, 600, offsets,
        {}, {}, {}, role=role,
    )  # fmt: skip
    text = await asyncio.to_thread(_model, seed)
    registry.publish(manifest, release_files(ModelFile(TREES_FILE, text)))
    if role == "challenger":
        order = Order("test", int(time.time() * 1000), "to answer half of it")
        assert challenge(registry, name, 0.5, order) is not None
    producer = AIOKafkaProducer(bootstrap_servers=service.kafka)
    await producer.start()
    announcement = Announcement("release", PROJECT.learner.name, name, 0, "", START_MS)
    await producer.send_and_wait(NAMES.topic(MODELS), announcement.encode(), key=b"release")
    await producer.stop()
    return name


def _model(seed):
    """Another small model each time; labels are drawn without a look at it."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(600, len(PROJECT.feature_names))).astype(np.float32)
    labels = (vectors[:, 0] + rng.normal(scale=2, size=600) > 0).astype(int)
    data = lightgbm.Dataset(vectors, labels, feature_name=PROJECT.feature_names)
    settings = {"objective": "binary", "verbose": -1, "num_leaves": 5, "num_threads": 1}
    return lightgbm.train(settings, data, 12).model_to_string().encode()


async def _restart(service):
    """The worker dies, the api ends in order, and both come back."""
    service.worker.kill()
    assert 0 == await service.api.stop()
    for command in service.commands:
        command.start()
    await service.ready()


def _replay(service, ids):
    """What `tidemill replay` says of them."""
    command = (sys.executable, "-m", "tidemill", "replay", str(PROJECT_FILE), *ids, "--json")
    ended = subprocess.run(
        command, env=service.api.environment, capture_output=True, timeout=REPLAY_SECONDS,
        check=False,
    )  # fmt: skip
    assert ended.returncode in (0, 6), ended.stderr.decode()[-3000:]
    return json.loads(ended.stdout)


async def _replayed_over_http(service, prediction, expected):
    """The api says the same of it, and no more about one that never was."""
    path = f"/v1/predictions/{prediction}/replay"
    answer = await service.client.get(path, timeout=HTTP_SECONDS)
    assert 200 == answer.status_code, answer.text
    assert expected == answer.json()
    answer = await service.client.get(f"/v1/predictions/{'0' * 32}/replay", timeout=HTTP_SECONDS)
    assert (404, "unknown_prediction") == (answer.status_code, answer.json()["cause"])
