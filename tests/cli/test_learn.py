"""`tidemill learn`: what a learner does, and orders that only a paused one takes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli.learn
from cli.main import app
from cli.services.valkey import EmbeddedValkey
from cli.wiring import names_of
from features.plan import compile_plan
from features.redis.client import redis_client
from features.redis.store import RedisStore
from features.store import Commit
from learners.guard import Trip
from learners.snapshot import Newest
from streams.learn import Learn
from streams.quarantine import HALT, Halt, Order
from tidemill.loading import load_project
from tidemill.settings import Settings

FILE = Path(__file__).parents[1] / "e2e" / "project.py"
PLAN = compile_plan(load_project(FILE))
NAMES, LEARNER = names_of(PLAN, Settings()), PLAN.project.learner.name
TRIP = Trip("producer_loss", "a mean loss 0.9 above", "at most 0.5 above", "liar")
RUNNER = CliRunner()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A store of nothing."""
    with EmbeddedValkey(tmp_path) as server:
        monkeypatch.setenv("TIDEMILL_REDIS", server.url)
        yield server


def learned(url: str, paused: bool) -> None:
    """A learner has published a snapshot, and is paused or not."""

    async def fill() -> None:
        client = redis_client(url)
        store, fence = RedisStore(client), NAMES.fence(Learn.name, 0)
        await store.write([(NAMES.newest_snapshot(LEARNER), Newest("r0001", 7, 7, "").encode())])
        epoch = (await store.claim(fence))["epoch"]
        halt = Halt.begun(TRIP, 300, {0: 300}, 1_700_000_000_000)
        side = {HALT: halt.encode()} if paused else {}
        await store.commit(Commit(fence, NAMES.side(Learn.name, 0), epoch, {}, {}, side_set=side))
        await client.aclose()

    asyncio.run(fill())


def run(*arguments: str):
    """Run the command."""
    return RUNNER.invoke(app, ["learn", arguments[0], str(FILE), *arguments[1:]])


def test_without_a_release_nothing_is_learned(server: EmbeddedValkey) -> None:
    """A project that has only begun."""
    assert "no release yet: nothing is learned\n" == run("status").output


def test_a_learner_that_learns_says_on_what(server: EmbeddedValkey) -> None:
    """Its release and snapshot, in words and as JSON."""
    learned(server.url, paused=False)
    assert "learning on release r0001, snapshot 7\n" == run("status").output
    found = json.loads(run("status", "--json").output)
    assert ("learning", "r0001", 7) == (found["state"], found["release"], found["snapshot"])


def test_a_paused_learner_says_why_and_what_to_do(server: EmbeddedValkey) -> None:
    """Who did it, from where on, and both ways to go on."""
    learned(server.url, paused=True)
    output = run("status").output
    for expected in ("paused", "producer liar", "at most 0.5 above", "offset 300", "--replay"):
        assert expected in output


def test_what_is_not_paused_is_not_resumed(server: EmbeddedValkey) -> None:
    """Exit code 1, and what was found."""
    learned(server.url, paused=False)
    result = run("resume", "--skip")
    assert 1 == result.exit_code
    assert "found learning on release r0001, snapshot 7; allowed: a paused learner" in result.output


@pytest.mark.parametrize("flags", [(), ("--replay", "--skip")])
def test_one_way_must_be_chosen(server: EmbeddedValkey, flags: tuple[str, ...]) -> None:
    """Exit code 2, both ways named."""
    result = run("resume", *flags)
    assert 2 == result.exit_code
    assert "allowed: one of --replay and --skip" in " ".join(result.output.split())


def test_an_order_waits_for_a_worker(
    server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one the command says so, and the order lies there for the next."""
    monkeypatch.setattr(cli.learn, "WAIT_SECONDS", 0.4)
    learned(server.url, paused=True)
    result = run("resume", "--skip")
    assert 1 == result.exit_code
    assert "no worker" in result.output

    async def order() -> bytes | None:
        client = redis_client(server.url)
        (data,) = await RedisStore(client).read([NAMES.learn_order(LEARNER)])
        await client.aclose()
        return data

    assert Order("skip", 1_700_000_000_000) == Order.decode(asyncio.run(order()))
