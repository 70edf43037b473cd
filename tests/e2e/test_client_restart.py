"""The Python client under load, while the api is killed, and stopped, and started again."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest
from processes import until
from traffic import START_MS

from tidemill.client import AsyncClient, Client, Options, Outcome, Retry

CALLERS, ROUNDS = 8, 3
PATIENT = Options(retry=Retry(deadline_seconds=60.0))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_no_call_fails_while_the_api_is_started_again(how, start, endpoints) -> None:
    """Every score is answered and every label counts once, whatever the api was doing."""
    service, ledger, _ = await start(endpoints.kafka, endpoints.redis, 31)
    stopping, told = asyncio.Event(), []
    async with AsyncClient(str(service.client.base_url), options=PATIENT) as client:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(_call(client, number, stopping, told))
            for _ in range(ROUNDS):
                before = len(told)
                await _end(service.api, how)
                service.api.start()
                await service.ready()
                await until("callers go on", lambda goal=before: _more(told, goal))
            stopping.set()
        assert (await client.ready()).ready

    expected = {ticket for ticket, _ in told}
    assert len(expected) == len(told) > CALLERS * ROUNDS
    # What is answered in the last moments before a kill -9 is not logged: one of each caller.
    lost = CALLERS * ROUNDS if how == signal.SIGKILL else 0

    async def examples() -> set[str]:
        return {example.prediction.key for example in await ledger.examples()}

    def enough(found: set[str]) -> bool:
        return found <= expected and len(expected - found) <= lost

    found = await until("the labels are examples", examples, good=enough)
    places = {(each.partition, each.sequence) for each in await ledger.examples()}
    assert len(found) == len(places)


async def test_a_thread_survives_a_restart(start, endpoints) -> None:
    """The client that waits goes on as well."""
    service, _, _ = await start(endpoints.kafka, endpoints.redis, 32)
    with Client(str(service.client.base_url), options=PATIENT) as client:
        await asyncio.to_thread(client.score, _request("before"))
        await _end(service.api, signal.SIGKILL)
        waiting = asyncio.create_task(asyncio.to_thread(client.score, _request("meanwhile")))
        service.api.start()
        answer = await waiting
    assert "r0001" == answer.model.release


async def _call(
    client: AsyncClient, number: int, stopping: asyncio.Event, told: list[tuple[str, str]]
) -> None:
    """Score and label one ticket after the other until told to stop."""
    rng = random.Random(number)
    while not stopping.is_set():
        ticket = f"{number}-{len(told)}-{rng.random()}"
        answer = await client.score(_request(ticket))
        outcome = Outcome(ticket, rng.randrange(2), START_MS + 700_000)
        assert 1 == await client.send_labels([outcome])
        told.append((ticket, answer.prediction_id))
        await asyncio.sleep(0.01)


def _request(ticket: str) -> dict[str, object]:
    place = {"pier": "p1", "ferry": "f1", "distance": 0.5}
    return {"ticket": ticket, "time": START_MS + 600_000, **place}


async def _end(command, how: signal.Signals) -> None:
    if how == signal.SIGKILL:
        command.kill()
    else:
        await command.stop()


async def _more(told: list[tuple[str, str]], before: int) -> bool:
    return len(told) >= before + 5 * CALLERS
