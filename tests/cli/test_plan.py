"""`tidemill plan` and `tidemill features drop` on a real store."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.services.valkey import EmbeddedValkey
from cli.wiring import names_of
from features.evolution.differences import define
from features.evolution.state_book import StateBook
from features.plan import FeaturePlan, compile_plan
from features.redis.client import redis_client
from features.redis.store import RedisStore
from tidemill.loading import load_project
from tidemill.settings import Settings
from tidemill.topics import EVENTS

FILE = Path(__file__).parents[1] / "e2e" / "project.py"
RUNNER = CliRunner()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A store, and a home with no archive."""
    with EmbeddedValkey(tmp_path / "valkey") as server:
        monkeypatch.setenv("TIDEMILL_REDIS", server.url)
        monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path / "home"))
        yield server


def declared(file: Path = FILE) -> FeaturePlan:
    """The plan of a file."""
    return compile_plan(load_project(file))


def begin(url: str, *plans: FeaturePlan) -> None:
    """Let the first plan serve; the states of all are ready, each with a blob."""

    async def fill() -> None:
        client = redis_client(url)
        store = RedisStore(client)
        for place, plan in enumerate(plans):
            names = names_of(plan, Settings())
            book = StateBook(store, names)
            await (book.add(plan.state, 1) if place else book.begin(define(plan, 1)))
            await store.claim(names.fence(EVENTS, 0))
            await store.write([(names.blob(p, "pier", f"p{p}"), b"blob") for p in range(4)])
        await client.aclose()

    asyncio.run(fill())


def keys(url: str, state: str) -> int:
    """How many keys a state has."""

    async def count() -> int:
        client = redis_client(url)
        found = [key async for key in client.scan_iter(match=f"*{state}*")]
        await client.aclose()
        return len(found)

    return asyncio.run(count())


def edited(tmp_path: Path, before: str, after: str) -> Path:
    """A copy of the file with one change."""
    file = tmp_path / "ferries.py"
    text = FILE.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    return file


def test_before_anything_serves_there_is_nothing_to_compare(server) -> None:
    """A new project: start it."""
    result = RUNNER.invoke(app, ["plan", str(FILE)])
    assert (0, True) == (result.exit_code, "nothing serves yet: 11 features" in result.output)


def test_no_change_says_so(server) -> None:
    """The file is what serves."""
    begin(server.url, declared())
    result = RUNNER.invoke(app, ["plan", str(FILE)])
    expected = f"no change: schema {declared().schema.hash} serves\n"
    assert (0, expected) == (result.exit_code, result.output)


def test_a_window_more_asks_for_a_backfill(server, tmp_path) -> None:
    """Name by name what changed, whose state it is, and the four steps."""
    begin(server.url, declared())
    file = edited(tmp_path, '("mean", "max")', '("mean", "min")')
    result = RUNNER.invoke(app, ["plan", str(file)])
    new = declared(file)
    assert 0 == result.exit_code, result.output
    lines = [line.strip() for line in result.output.splitlines()]
    assert f"state {declared().state} → {new.state}" in lines[0]
    assert {"- sailed_max_pier_1h", "+ sailed_min_pier_1h"} <= {
        line.partition(":")[0] for line in lines
    }
    assert "state to backfill: pier, ferry" in lines
    assert "the archive has no events: it begins empty" in lines
    assert f"1. tidemill backfill {file}" in lines
    assert f"5. tidemill features drop {file} {declared().state}" in lines


def test_a_request_feature_more_needs_no_backfill(server, tmp_path) -> None:
    """The state is the same: worker and retrain are enough."""
    begin(server.url, declared())
    one = 'RequestFeature("distance", request.distance),'
    file = edited(tmp_path, one, f'{one} RequestFeature("far", request.distance > 9),')
    found = json.loads(RUNNER.invoke(app, ["plan", str(file), "--json"]).output)
    assert (["far"], None) == (found["added"], found["backfill"])
    assert found["state"]["from"] == found["state"]["to"]
    assert "nothing to backfill" in RUNNER.invoke(app, ["plan", str(file)]).output


def test_a_changed_expression_says_what_it_was_and_is(server, tmp_path) -> None:
    """Under the same name: both texts."""
    begin(server.url, declared())
    file = edited(tmp_path, "of=sailed.delay", "of=sailed.delay * 2")
    found = json.loads(RUNNER.invoke(app, ["plan", str(file), "--json"]).output)
    assert ["delay", "(delay * 2)"] == found["changed"]["sailed_mean_pier_1h"]["of"]


def test_without_a_store_it_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line naming the setting."""
    monkeypatch.delenv("TIDEMILL_REDIS", raising=False)
    result = RUNNER.invoke(app, ["plan", str(FILE)])
    assert (2, 1) == (result.exit_code, result.output.count("TIDEMILL_REDIS"))


def test_an_old_state_is_removed_whole(server, tmp_path) -> None:
    """Its blobs, fences and place in the book; what serves stays."""
    old = declared(edited(tmp_path, '("mean", "max")', '("mean", "min")'))
    begin(server.url, declared(), old)
    kept = keys(server.url, declared().state)
    result = RUNNER.invoke(app, ["features", "drop", str(FILE), old.state, "--json"])
    assert (0, {"state": old.state, "keys": 5}) == (result.exit_code, json.loads(result.output))
    assert (0, kept) == (keys(server.url, old.state), keys(server.url, declared().state))


@pytest.mark.parametrize("state", ["the one that serves", "fence", "*", "12345678x"])
def test_what_must_not_be_dropped_is_refused(server, state: str) -> None:
    """What serves, and what is no state: named with those that may be."""
    begin(server.url, declared())
    wanted = declared().state if state == "the one that serves" else state
    result = RUNNER.invoke(app, ["features", "drop", str(FILE), wanted])
    expected = (
        f"tidemill: STATE: found '{wanted}'; allowed: a state that does not serve: there is none\n"
    )
    assert (2, expected) == (result.exit_code, result.output)
    assert keys(server.url, declared().state)
