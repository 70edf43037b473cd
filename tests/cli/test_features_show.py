"""`tidemill features show`: one entity from a real store, in words and as JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.services.valkey import EmbeddedValkey
from cli.wiring import names_of
from features.plan import compile_plan
from features.redis.client import redis_client
from features.redis.store import RedisStore
from features.replay import Replayer
from tidemill.loading import load_project
from tidemill.settings import Settings

FILE = Path(__file__).parents[1] / "e2e" / "project.py"
AT = 1_700_000_000_000
RUNNER = CliRunner()


async def fill(url: str) -> None:
    """Two passengers who boarded at pier p1."""
    plan = compile_plan(load_project(FILE))
    names, replayer = names_of(plan, Settings()), Replayer(plan)
    texts = {name: np.array([value] * 2, dtype=object) for name, value in
             {"pier": "p1", "ferry": "f1"}.items()}  # fmt: skip
    weights = {"weight": np.array([60.0, 80.0]), "time": np.array([AT, AT + 1_000], np.int64)}
    replayer.apply("boarded", texts | weights)
    client = redis_client(url)
    await RedisStore(client).write(
        [(names.blob(names.entity_partition(key), entity, key), blob)
         for entity, key, blob in replayer.blobs()]
    )  # fmt: skip
    await client.aclose()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A store with one pier and one ferry."""
    with EmbeddedValkey(tmp_path) as server:
        asyncio.run(fill(server.url))
        monkeypatch.setenv("TIDEMILL_REDIS", server.url)
        yield server


def show(*arguments: str):
    """Run the command."""
    return RUNNER.invoke(app, ["features", "show", str(FILE), *arguments])


def test_an_entity_is_shown(store: EmbeddedValkey) -> None:
    """Name, time, age, values and tiles; as JSON the same for scripts."""
    result = show("pier", "p1", "--at", "2023-11-14T22:13:25Z")
    assert 0 == result.exit_code, result.output
    lines = result.stdout.splitlines()
    assert "pier (pier p1) at 2023-11-14T22:13:25.000Z" == lines[0]
    assert lines[1].startswith("newest event 2023-11-14T22:13:21.000Z, 4.000 s before; ")
    found = json.loads(show("pier", "p1", "--at", str(AT + 5_000), "--json").stdout)
    assert (True, 4_000) == (found["known"], found["age_ms"])
    for name, value in found["values"].items():
        shown = next(line for line in lines if line.startswith(f"  {name} "))
        assert ("missing" if value is None else f"{value:.9g}") == shown.split()[-1]
    assert any(value for value in found["values"].values())


def test_an_entity_without_events_is_said_so(store: EmbeddedValkey) -> None:
    """No error: a score would see nothing as well."""
    result = show("pier", "nowhere")
    assert (0, "no events in the store") == (result.exit_code, result.stdout.splitlines()[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("harbour", "p1"), "entity: found"),
        (("pier", "p1", "p2"), "id: found 'p1|p2'; allowed: pier"),
        (("pier", "p1", "--at", "noon"), "at: found"),
    ],
)
def test_a_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    """Exit code 2, before the store is asked."""
    monkeypatch.setenv("TIDEMILL_REDIS", "redis://127.0.0.1:1/0")
    result = show(*arguments)
    assert (2, 1) == (result.exit_code, len(result.output.splitlines())), result.output
    assert words in result.output
