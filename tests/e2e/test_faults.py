"""What fails outside: services that are away, a port in use, a project file with a mistake."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ledger import judge_events, read_log
from processes import FAST_SESSION, PROJECT_FILE, ROOT, environment, until

from cli.services.ports import free_port
from cli.services.tansu import EmbeddedBroker
from cli.services.valkey import EmbeddedValkey
from tidemill.topics import EVENTS


async def test_a_broker_that_comes_late_is_waited_for(tmp_path, make, publish, meet):
    """Worker and api say that they wait, and start once the broker answers."""
    publish()
    port = free_port()
    with EmbeddedValkey(tmp_path / "valkey", free_port()) as store:
        service = make(f"127.0.0.1:{port}", store.url, **FAST_SESSION)
        for command in service.commands:
            command.start()
        await asyncio.gather(*(c.says("waiting for the broker") for c in service.commands))
        with EmbeddedBroker(tmp_path / "broker", port):
            await service.ready()
            ledger, client = await meet(service)
            await client.some_events(20)
            await ledger.drained(client.sent)
            assert [0, 0] == await service.stop()


async def test_processes_that_wait_for_the_broker_can_be_stopped(tmp_path, make):
    """SIGTERM ends them at once, although the broker never came."""
    service = make(f"127.0.0.1:{free_port()}", f"redis://127.0.0.1:{free_port()}/0")
    for command in service.commands:
        command.start()
    await asyncio.gather(*(c.says("waiting for the broker") for c in service.commands))
    assert [-signal.SIGTERM, -signal.SIGTERM] == await service.stop()


async def test_a_store_that_stalls_degrades_answers_and_loses_nothing(embedded, start):
    """While Valkey hangs the api answers without windows, the worker waits; then all is made up."""
    service, ledger, client = await start(embedded.kafka, embedded.redis, **FAST_SESSION)
    await client.some_events(40)
    await ledger.drained(client.sent)

    valkey = _listener(int(embedded.redis.rsplit(":", 1)[1].split("/")[0]))
    os.kill(valkey, signal.SIGSTOP)
    try:
        await client.some_events(200)
        assert ["features"] == (await client.score())["degraded"]
        assert "store" in (await service.get("/readyz"))["missing"]
        await service.worker.says("paused")
    finally:
        os.kill(valkey, signal.SIGCONT)
    await _check_recovery(service, ledger, client)


async def test_a_store_that_restarts_is_found_again(tmp_path, embedded, start):
    """Valkey goes away and comes back with its data: the work goes on where it was."""
    with EmbeddedValkey(tmp_path / "valkey", free_port()) as store:
        service, ledger, client = await start(embedded.kafka, store.url, **FAST_SESSION)
        await client.some_events(40)
        await ledger.drained(client.sent)
        port = store.port
        store.stop()

        await client.some_events(200)
        answer = await client.score()
        assert ["features"] == answer["degraded"]
        await client.label(answer["request"]["ticket"])
        await service.worker.says("paused")
        with EmbeddedValkey(tmp_path / "valkey", port):
            await _check_recovery(service, ledger, client)


async def test_a_worker_that_waits_for_the_store_can_be_stopped(embedded, make):
    """SIGTERM ends a worker that has not even got its partitions."""
    service = make(embedded.kafka, f"redis://127.0.0.1:{free_port()}/0", **FAST_SESSION)
    service.worker.start()
    await service.worker.says("waiting for the store")
    assert 0 == await service.worker.stop()


@pytest.mark.parametrize(("command", "option"), [("api", "--port"), ("worker", "--metrics-port")])
def test_a_port_in_use_is_named(tmp_path, embedded, command, option):
    """The process ends at once with one line that names the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = environment(tmp_path, embedded.kafka, embedded.redis)
        code, output = _run(command, str(PROJECT_FILE), option, port, told=told)
    assert (1, 1) == (code, len(output.splitlines())), output
    assert f"port {port}" in output and "allowed: a free port" in output


def test_missing_addresses_are_named(tmp_path):
    """Without TIDEMILL_KAFKA the worker says what to set, with exit code 2."""
    told = environment(tmp_path, "", "")
    told = {k: v for k, v in told.items() if k not in ("TIDEMILL_KAFKA", "TIDEMILL_REDIS")}
    code, output = _run("worker", str(PROJECT_FILE), told=told)
    assert (2, 1) == (code, len(output.splitlines())), output
    assert "TIDEMILL_KAFKA" in output


GOOD = PROJECT_FILE.read_text()
MISTAKES = {
    "import error": (GOOD + "import no_such_module\n",
                     "import", "no_such_module", "code that runs"),
    "syntax error": (GOOD + "def broken(:\n", "import", "SyntaxError", "code that runs"),
    "two projects": (GOOD + "import dataclasses as d\nother = d.replace(project, name='second')\n",
                     "project", "ferries, second", "exactly one Project"),
    "no project": ("x = 1\n", "project", "none", "exactly one Project"),
    "unknown field": (GOOD.replace("of=sailed.delay", "of=sailed.dely"), "", "dely", "delay"),
    "unknown derived": (GOOD.replace('column("score")', 'column("scor")'),
                        "BadCase sure_but_wrong.when", "scor", "score"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["check", "worker"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_project_file_is_one_clear_line(tmp_path, command, mistake):
    """File, name, found and allowed, with exit code 2 and no traceback."""
    text, name, found, allowed = MISTAKES[mistake]
    file = tmp_path / "service.py"
    file.write_text(text)
    _check_refusal(command, file, (str(file), name, found, allowed))


@pytest.mark.parametrize("command", ["check", "worker"])
def test_a_missing_file_and_a_clash_are_named(tmp_path, command):
    """A file that is not there, and a folder that hides a part of Tidemill."""
    file = tmp_path / "service.py"
    _check_refusal(command, file, (str(file), "a Python file that exists"))
    file.write_text(GOOD)
    (tmp_path / "streams").mkdir()
    _check_refusal(command, file, (str(file), "streams", "names other than Tidemill's own parts"))


def _check_refusal(command: str, file: Path, words: tuple[str, ...]) -> None:
    code, output = _run(command, str(file), told=environment(file.parent, "x:1", "redis://x:1/0"))
    assert 2 == code, output
    assert "Traceback" not in output
    assert ["tidemill:"] == [line.split()[0] for line in output.splitlines()]
    for word in (*words, "found", "allowed"):
        assert word in output


def _run(*arguments: str, told: dict[str, str]) -> tuple[int, str]:
    """Run a command to its end: exit code and all its output."""
    ended = subprocess.run(
        [sys.executable, "-m", "tidemill", *arguments],
        cwd=ROOT, env=told, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def _listener(port: int) -> int:
    """The process id of the Valkey that was started with this port."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"--port" in line and line[line.index(b"--port") + 1] == str(port).encode():
                return int(folder.name)
            if any(f":{port}".encode() in part for part in line[:1]):
                return int(folder.name)
    raise AssertionError(f"nobody listens on {port}")


async def _check_recovery(service, ledger, client):
    """The service becomes whole again and the books agree with the log."""

    async def whole():
        return (await client.score())["degraded"]

    await until("answers are whole again", whole, good=lambda found: found == [])
    await ledger.drained(client.sent)
    good, bad = judge_events(await read_log(service.kafka, EVENTS, client.sent[EVENTS]))
    assert [] == await ledger.windows_differ(good)
    counted = await ledger.fences("events")
    assert bad == counted["dead_letters"]
    applied = (await ledger.fences("updates"))["events_applied"]
    assert counted["events_accepted"] == applied == sum(len(events) for events in good.values())
    assert [0, 0] == await service.stop()
