"""`tidemill features size`: the report in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.features_size import Outlook, in_words, summary
from cli.main import app
from cli.services.valkey import EmbeddedValkey
from features.redis.usage import StoreUsage, Usage

PROJECT = Path(__file__).parents[1] / "e2e" / "project.py"
FOUND = StoreUsage(
    (
        Usage("entity", "card", 2_000, 350.0, 300.0),
        Usage("bookkeeping", "", 12, 100.0, 100.0),
    ),
    walked=5_000,
    keys=20_000,
    used_bytes=3_000_000,
    limit_bytes=2_000_000_000,
    allocator="libc",
)


def test_the_report_in_words() -> None:
    """Kinds, totals, how sure that is, and the projection."""
    expected = """\
entity card: 2,000 keys, 350 bytes each (300 of them the value), 700 kB
bookkeeping: 12 keys, 100 bytes each, 1.2 kB
total 701 kB; the store uses 3 MB of 2 GB
estimated from 5,000 of 20,000 keys
100,000,000 entities of 5,000 floats would take 2 TB (20,050 bytes each)
100,000,000 of card as declared would take 35 GB"""
    assert expected == in_words(summary(FOUND, Outlook(100_000_000, 5_000)))


def test_a_store_without_keys_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 0 and JSON, also when nothing is there."""
    with EmbeddedValkey(tmp_path) as server:
        monkeypatch.setenv("TIDEMILL_REDIS", server.url)
        result = CliRunner().invoke(app, ["features", "size", str(PROJECT), "--json"])
    assert 0 == result.exit_code, result.output
    found = json.loads(result.stdout)
    assert ([], 0, 0) == (found["kinds"], found["bytes"], found["keys_in_store"])


def test_a_missing_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line and exit code 2."""
    monkeypatch.delenv("TIDEMILL_REDIS", raising=False)
    result = CliRunner().invoke(app, ["features", "size", str(PROJECT)])
    assert (2, 1) == (result.exit_code, len(result.output.splitlines()))
    assert "TIDEMILL_REDIS: found nothing" in result.output
