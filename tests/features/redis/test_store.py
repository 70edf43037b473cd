"""What the store on Redis does with errors of its client; the rest is in the store's contract."""

from __future__ import annotations

from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from features.redis.store import RedisStore
from features.store import Commit
from tidemill.errors import FencedError, StoreUnavailable

COMMIT = Commit("f", "s", 1, {}, {})


def refusing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> RedisStore:
    """A store whose server answers every command with this error."""

    async def refuse(*_: Any, **__: Any) -> None:
        raise error

    client = redis.asyncio.Redis()
    for name in ("evalsha", "execute_command"):
        monkeypatch.setattr(client, name, refuse)
    monkeypatch.setattr(client.connection_pool, "get_connection", refuse)
    return RedisStore(client)


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.OutOfMemoryError("OOM command not allowed"),
        redis.exceptions.BusyLoadingError("LOADING"),
        redis.exceptions.ReadOnlyError("READONLY"),
        redis.exceptions.ResponseError("MISCONF errors writing to the AOF file"),
        redis.exceptions.ConnectionError("refused"),
        redis.exceptions.TimeoutError("slow"),
        OSError("reset"),
    ],
)
async def test_a_server_that_refuses_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Out of memory, loading, read-only and lost connections are all StoreUnavailable."""
    store = refusing(monkeypatch, error)
    with pytest.raises(StoreUnavailable):
        await store.commit(COMMIT)
    with pytest.raises(StoreUnavailable):
        await store.read(["a"])


async def test_the_scripts_refusal_is_a_fenced_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the fence's own words mean that another owner writes."""
    store = refusing(monkeypatch, redis.exceptions.ResponseError("FENCED epoch 2 expected 1"))
    with pytest.raises(FencedError, match="epoch 2 expected 1"):
        await store.commit(COMMIT)


async def test_reading_nothing_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys, no command."""
    assert [] == await refusing(monkeypatch, OSError("reset")).read([])
