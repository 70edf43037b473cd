"""The client of the store: commands are packed as the client's own code packs them."""

from __future__ import annotations

import pytest
import redis.asyncio
import redis.exceptions
from redis.exceptions import DataError

from features.redis.client import FastConnection, FastSSLConnection, redis_client
from tidemill.errors import SettingsError

COMMANDS = {
    "text, bytes and numbers": ("SET", "kéy", b"\x00\r\n", "PX", 15, 2.5),
    "two words": ("CONFIG GET", "maxmemory"),
    "two words as bytes": (b"SCRIPT LOAD", memoryview(b"return 1"), bytearray(b"x")),
    "empty": ("MGET", "", b""),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_packed_as_by_the_client(name: str) -> None:
    """The bytes are the same, whatever the arguments' types."""
    expected = b"".join(map(bytes, redis.asyncio.Connection().pack_command(*COMMANDS[name])))
    assert expected == b"".join(FastConnection().pack_command(*COMMANDS[name]))


async def test_a_connection_that_is_closed_while_it_connects_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not an error of ours that would end the worker."""
    connection = FastConnection()

    async def closed_by_another_task(**_: object) -> None:
        assert not connection.is_connected

    monkeypatch.setattr(connection, "connect_check_health", closed_by_another_task)
    with pytest.raises(redis.exceptions.ConnectionError, match="closed while connecting"):
        await connection.send_command("PING", check_health=False)


def test_what_cannot_be_sent_is_refused() -> None:
    """None and booleans are no arguments, as everywhere in the client."""
    for wrong in (None, True):
        with pytest.raises(DataError):
            FastConnection().pack_command("SET", "key", wrong)


@pytest.mark.parametrize(
    ("scheme", "expected"), [("redis", FastConnection), ("rediss", FastSSLConnection)]
)
def test_the_connection_follows_the_scheme(scheme: str, expected: type) -> None:
    """With and without TLS; alone and in a cluster."""
    url = f"{scheme}://127.0.0.1:1/0"
    assert expected is redis_client(url).connection_pool.connection_class
    kinds = redis_client(url, cluster=True).connection_kwargs
    assert expected is kinds["connection_class"]


def test_a_clusters_only_database_is_0() -> None:
    """Another one is a mistake in the settings, in one line."""
    with pytest.raises(SettingsError, match="TIDEMILL_REDIS: found a database other than 0"):
        redis_client("redis://127.0.0.1:1/3", cluster=True)
