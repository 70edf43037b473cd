"""What an api process settles before it serves."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path

import pytest

from cli import server
from cli.api_processes import Place
from tidemill.settings import Settings

BY_PYTHON = 0.005


def test_a_thread_that_loads_gives_way_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Python's own interval each answer would wait for it twenty times as long."""
    found = []

    def run(serving: Coroutine[None, None, None]) -> None:
        found.append(sys.getswitchinterval())
        serving.close()

    monkeypatch.setattr(server.uvloop, "run", run)
    monkeypatch.setattr(server.heap, "share_one", lambda: None)  # this process keeps its own
    before = sys.getswitchinterval()
    try:
        server.run_api(Path("project.py"), Settings(), Place("127.0.0.1", 0))
    finally:
        sys.setswitchinterval(before)
    assert [True] == [interval <= BY_PYTHON / 20 for interval in found]
