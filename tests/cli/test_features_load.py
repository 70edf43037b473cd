"""`tidemill features load` as a user runs it, on a real Valkey."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from typer.testing import CliRunner

import features.static.load
from cli.main import app
from cli.services.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]
PROJECT = """
from tidemill import Entity, Label, Project, Request, StaticRow

user = Entity("user", ("user",))
profile = StaticRow("profile", user, {"age": 1, "embedding": 64})
others = (StaticRow("limits", user, ("low",)),) if SEVERAL else ()
project = Project("shop", (), Request({"user": str}), (profile, *others), Label(("user",), "1h"))
"""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A real Valkey on a free port."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def client(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A client of the emptied store, which the command finds in its environment."""
    monkeypatch.setenv("TIDEMILL_REDIS", valkey.url)
    monkeypatch.setattr(features.static.load, "GRACE_SECONDS", 0.0)
    with redis.Redis.from_url(valkey.url) as found:
        found.flushall()
        yield found


def files(folder: Path, count: int, *, several: bool = False, **replaced: Any) -> list[str]:
    """The command's arguments: a project and a file of `count` users."""
    project, rows = folder / "shop.py", folder / f"rows{count}.parquet"
    project.write_text(PROJECT.replace("SEVERAL", str(several)))
    floats = pa.array(np.zeros(count * 64, np.float32))
    columns = {
        "user": pa.array([f"u{i}" for i in range(count)]),
        "age": pa.array(np.arange(count)),
        "embedding": pa.FixedSizeListArray.from_arrays(floats, 64),
    }
    pq.write_table(pa.table(columns | replaced), rows)
    return ["features", "load", str(project), str(rows)]


def versions(client: redis.Redis) -> dict[bytes, int]:
    """How many rows of which versions are in the store."""
    found: dict[bytes, int] = {}
    for key in client.scan_iter(match="{shop:*}:static:profile:[0-9]*", count=5_000):
        version = key.split(b":")[4]
        found[version] = found.get(version, 0) + 1
    return found


def test_a_load_says_what_it_did(client: redis.Redis, tmp_path: Path) -> None:
    """As JSON for scripts, as one line for people."""
    arguments = files(tmp_path, 30)
    result = CliRunner().invoke(app, [*arguments, "--json"])
    found = json.loads(result.output)
    assert 0 <= found.pop("seconds") < 30
    expected = {
        "row": "profile", "version": 1, "rows": 30, "bytes": 30 * (12 + 65 * 4), "removed": 0,
    }  # fmt: skip
    assert (0, expected, {b"1": 30}) == (result.exit_code, found, versions(client))
    result = CliRunner().invoke(app, arguments)
    assert (0, True) == (result.exit_code, result.output.startswith("profile: 30 rows, 8160 bytes"))


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "another type": ({"age": pa.array(["x", "y"])}, "column age: found string; allowed: numbers"),
    "a key twice": (
        {"user": pa.array(["a", "a"])},
        "column user, row 2: found 'a'; allowed: each key once (this one stands in an earlier row)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_file_that_does_not_fit_is_one_line(
    client: redis.Redis, tmp_path: Path, mistake: str
) -> None:
    """Exit code 2, file, column and row; nothing is left in the store."""
    columns, expected = MISTAKES[mistake]
    result = CliRunner().invoke(app, files(tmp_path, 2, **columns))
    assert (2, f"tidemill: rows2.parquet: {expected}\n") == (result.exit_code, result.output)
    assert {} == versions(client)


def test_which_static_row_must_be_said_when_there_are_several(
    client: redis.Redis, tmp_path: Path
) -> None:
    """The option names one of them."""
    arguments = files(tmp_path, 2, several=True)
    result = CliRunner().invoke(app, arguments)
    expected = "tidemill: --row: found 'nothing'; allowed: one of profile, limits\n"
    assert (2, expected) == (result.exit_code, result.output)
    result = CliRunner().invoke(app, [*arguments, "--row", "users"])
    expected = "tidemill: --row: found 'users'; allowed: one of profile, limits\n"
    assert (2, expected) == (result.exit_code, result.output)
    assert 0 == CliRunner().invoke(app, [*arguments, "--row", "profile"]).exit_code


def test_no_store_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not set is a mistake; not there is a failure."""
    arguments = files(tmp_path, 2)
    monkeypatch.delenv("TIDEMILL_REDIS", raising=False)
    result = CliRunner().invoke(app, arguments)
    assert (2, True) == (result.exit_code, result.output.startswith("tidemill: TIDEMILL_REDIS: "))
    monkeypatch.setenv("TIDEMILL_REDIS", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(app, arguments)
    assert (1, 1) == (result.exit_code, result.output.count("\n"))


def test_a_load_killed_half_way_changes_nothing(client: redis.Redis, tmp_path: Path) -> None:
    """The old version is served as if nothing had been, and the next load removes the half."""
    small = files(tmp_path, 20)
    assert 0 == CliRunner().invoke(app, small).exit_code
    pointers = [client.get(key) for key in client.scan_iter(match="*:live:*")]
    large = files(tmp_path, 150_000)
    process = subprocess.Popen([sys.executable, "-m", "tidemill", *large], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while client.dbsize() < 5_000:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    left = versions(client)
    assert (20, True) == (left[b"1"], 0 < left[b"2"] < 150_000)
    assert pointers == [client.get(key) for key in client.scan_iter(match="*:live:*")]
    assert 0 == CliRunner().invoke(app, small).exit_code
    assert {b"3": 20} == versions(client)
