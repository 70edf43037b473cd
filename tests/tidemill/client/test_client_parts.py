"""Both clients have the same methods, and who lacks httpx is told how to get it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill import client
from tidemill.client import AsyncClient, Client

ROOT = Path(__file__).parents[3]
METHODS = [
    name for name, value in vars(Client).items() if callable(value) and not name.startswith("_")
]


@pytest.mark.parametrize("name", METHODS)
def test_both_clients_have_the_same_methods(name: str) -> None:
    """The same arguments and answers, as a call and as a coroutine."""
    waiting, awaited = getattr(Client, name), getattr(AsyncClient, name)
    assert inspect.signature(waiting) == inspect.signature(awaited)
    assert inspect.iscoroutinefunction(awaited) and not inspect.iscoroutinefunction(waiting)


def test_every_method_is_documented() -> None:
    """A method that the client's page does not name cannot be found."""
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    undocumented = [name for name in METHODS if f"`{name}(" not in page and name != "close"]
    assert [] == undocumented


def test_what_is_offered_is_there() -> None:
    """`from tidemill.client import *` finds every name, in order."""
    assert sorted(client.__all__) == client.__all__
    assert all(hasattr(client, name) for name in client.__all__)


def test_without_httpx_the_extra_is_named() -> None:
    """The client needs what not every installation has."""
    code = "import sys; sys.modules['httpx'] = None; import tidemill.client"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert 1 == done.returncode
    assert "ImportError: tidemill.client: found no httpx; allowed: " in done.stderr
    assert "pip install 'tidemill[client]'" in done.stderr
