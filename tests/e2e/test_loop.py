"""The whole loop in one minute: events, scores, labels, learning, and a release that takes over."""

from __future__ import annotations

import asyncio
import json

from aiokafka import AIOKafkaProducer
from ledger import NAMES, PROJECT, judge_events, read_log, replay
from processes import FAST_SESSION, until
from traffic import START_MS

from features.columns import field_columns
from features.decoding import RequestDecoder
from tidemill.clock import SystemClock
from tidemill.topics import BADCASES, EVENTS, MODELS, PREDICTIONS
from tidemill.wire import Announcement, BadCaseFound, Prediction, decode


async def test_an_event_becomes_a_feature_a_score_an_example_and_a_better_model(
    embedded, publish, start
):
    """From event to adopted weights; a stop in between loses nothing; a release swaps in."""
    service, ledger, client = await start(embedded.kafka, embedded.redis, **FAST_SESSION)

    await client.some_events(240)
    await ledger.drained(client.sent)
    answers = [await client.score() for _ in range(40)]
    assert [(), "r0001"] == [tuple(answers[0]["degraded"]), answers[0]["model"]["release"]]
    for answer in answers:
        await client.label(answer["request"]["ticket"], 0)
    await _learned(ledger, service, 40)
    await _check_vectors(service, answers)
    await _check_bad_cases(service, answers)

    # A clean stop: both end by themselves; what is sent meanwhile is taken up by the next worker.
    assert [0, 0] == await service.stop()
    await client.some_events(120)
    for command in service.commands:
        command.start()
    await service.ready()
    await ledger.drained(client.sent)
    again = [await client.score() for _ in range(10)]
    for answer in again:
        await client.label(answer["request"]["ticket"])
    await _learned(ledger, service, 50)

    assert {"r0001", "r0002"} == await _swap_under_load(service, client, publish)
    await _check_books(service, ledger, client)


async def _learned(ledger, service, count):
    """Wait until so many examples were learned and the api serves the snapshot that holds them."""

    async def served():
        totals = await ledger.totals()
        status = await service.get("/v1/status")
        snapshot = await ledger.snapshot()
        model = status["model"]
        adopted = snapshot and [model["release"], model["snapshot"]] == [
            snapshot.release, snapshot.number,
        ]  # fmt: skip
        return [totals.joined, totals.examples_in_log, totals.sequences, totals.learned, adopted]

    await until(f"{count} examples are learned and served", served,
                good=lambda found: found == [count, count, count, count, True])  # fmt: skip


async def _check_vectors(service, answers):
    """The logged vectors are, byte for byte, those of an offline replay."""
    good, bad = judge_events(await read_log(service.kafka, EVENTS))
    assert 6 == bad
    decoder = RequestDecoder(PROJECT, SystemClock(), 3_600_000)
    bodies = [json.dumps(answer["request"]).encode() for answer in answers]
    columns = field_columns(PROJECT.request.columns, [decoder.decode(body) for body in bodies])
    expected = replay(good).vectors(columns)
    log = await read_log(service.kafka, PREDICTIONS)
    logged = [decode(Prediction, r.value) for records in log.values() for r in records]
    by_id = {prediction.id: prediction for prediction in logged}
    for answer, vector in zip(answers, expected, strict=True):
        assert vector.tobytes() == by_id[answer["prediction_id"]].vector


async def _check_bad_cases(service, answers):
    """Every sure score with label 0 lies in the topic with its reason."""
    sure = {a["request"]["ticket"] for a in answers if a["score"] > 0.8}
    log = (await read_log(service.kafka, BADCASES))[0]
    found = [decode(BadCaseFound, record.value) for record in log]
    assert sure
    assert {(ticket, "sure_but_wrong") for ticket in sure} == {
        (case.prediction.key, case.reason) for case in found
    }


async def _swap_under_load(service, client, publish):
    """Publish a release while requests run; none fails; returns the releases that answered."""
    seen, stop = set(), asyncio.Event()

    async def ask():
        while not stop.is_set():
            seen.add((await client.score())["model"]["release"])

    async def swapped():
        status = await service.get("/v1/status")
        return status["model"]["release"]

    before = dict(client.refused)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask())
        await until("the first release answers", _is_in("r0001", seen))
        release = publish()
        producer = AIOKafkaProducer(bootstrap_servers=service.kafka)
        await producer.start()
        announcement = Announcement("release", PROJECT.learner.name, release, 0, "", START_MS)
        await producer.send_and_wait(NAMES.topic(MODELS), announcement.encode(), key=b"release")
        await producer.stop()
        await until("the release is served", swapped, good=lambda found: found == release)
        await until("the release answers", _is_in(release, seen))
        stop.set()
    assert before == dict(client.refused)
    return seen


def _is_in(wanted, found):
    async def ask():
        return wanted in found

    return ask


async def _check_books(service, ledger, client):
    """After a clean end the archive holds the log, each record once."""
    totals = await ledger.totals()
    assert (50, 50, 50, 50) == (
        totals.joined, totals.examples_in_log, totals.sequences, totals.learned,
    )  # fmt: skip
    await ledger.archived(client.sent[EVENTS])
    assert [0, 0] == await service.stop()
    await ledger.archived(client.sent[EVENTS])
    events = await read_log(service.kafka, EVENTS, client.sent[EVENTS])
    assert [] == await ledger.windows_differ(judge_events(events)[0])
