"""Several api processes on one port: each answers, adopts and tells of itself; one may die."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import httpx
import pytest
from processes import PROJECT_FILE, Command, environment, until

from cli.services.ports import free_port, is_free

PROCESSES = 2


@pytest.fixture
async def shared(tmp_path, embedded, publish, opened):
    """`tidemill api --processes 2` with a release; its port and that of the first process."""
    publish()
    port = free_port()
    admin = _free_ports(PROCESSES)
    told = environment(tmp_path, embedded.kafka, embedded.redis, TIDEMILL_ADMIN_PORT=str(admin))
    file = str(PROJECT_FILE)
    (tmp_path / "logs").mkdir()
    count = str(PROCESSES)
    api = Command("api", (file, "--port", str(port), "--processes", count), told, tmp_path / "logs")
    opened.callback(api.kill)
    api.start()
    for number in range(PROCESSES):
        await until(f"process {number} is ready", lambda n=number: _ready(admin + n))
    return api, port, admin


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        if all(is_free(first + number) for number in range(count)):
            return first


async def _ready(port: int) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/readyz")
    except httpx.TransportError:
        return False
    return bool(answer.json().get("ready"))


async def _metrics(port: int) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def _score(port: int, number: int) -> int:
    """One request over a connection of its own, which the kernel gives to one of the processes."""
    body = {"ticket": f"t{number}", "pier": "p1", "ferry": "f1", "distance": 1.0}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{port}/v1/score", json=body)
    return answer.status_code


async def test_all_answer_on_one_port_and_one_may_die(shared):
    """Each has its own metrics and release; a killed one is back, and all end together."""
    api, port, admin = shared
    statuses = [await _score(port, number) for number in range(60)]
    assert {200} == set(statuses)
    told = [await _metrics(admin + number) for number in range(PROCESSES)]
    answered = [each["tidemill_predictions_total"] for each in told]
    assert 60 == sum(answered)
    assert 0 not in answered
    releases = [name for each in told for name in each if name.startswith("tidemill_model_info")]
    assert all('release="r0001"' in name for name in releases)

    victim = _members(api)[1]
    os.kill(victim, signal.SIGKILL)
    await until("it is started again", lambda: _another(api, victim))
    await until("it is ready again", lambda: _ready(admin + 1))
    assert 200 == await _score(port, 100)
    assert 0 == await api.stop()
    assert PROCESSES + 1 == api.log.count('"event": "process_serves"')
    assert [1] == [line["process"] for line in _lines(api) if line["event"] == "process_ended"]


def _lines(api: Command) -> list[dict]:
    return [json.loads(line) for line in api.log.splitlines() if line.startswith("{")]


def _members(api: Command) -> dict[int, int]:
    """The processes that the supervisor runs, by their number."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                words = file.read().decode().split("\0")
            with open(f"/proc/{entry.name}/stat") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == api.child.pid and "--member" in words:
            found[int(words[words.index("--member") + 1])] = int(entry.name)
    return found


async def _another(api: Command, than: int) -> bool:
    return _members(api).get(1, than) != than


async def test_a_supervisor_that_is_killed_takes_all_with_it(shared):
    """Nothing is left on the port against the next start."""
    api, port, _ = shared
    api.kill()

    async def gone() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return True
        writer.close()
        return False

    await until("nobody listens", gone)
