"""A client of Redis, Valkey or a cluster of them, made for commands with thousands of arguments."""

from __future__ import annotations

from typing import Any

import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.retry
import redis.backoff
import redis.exceptions

from tidemill.errors import SettingsError


class OurConnection:
    """Mixed into a connection for what the client's own does not do well.

    It packs a command four times as fast: a micro-batch's commit is one command with two arguments
    for every entity. And where another task closes it while it connects, as a cluster's client does
    with all connections of a node that failed, the error is a ConnectionError like any other.
    """

    encoder: Any
    is_connected: bool
    health_check_interval: float
    _reader: Any
    _writer: Any

    async def send_packed_command(self, command: Any, **options: Any) -> None:
        """Send what `pack_command` made; raises ConnectionError and TimeoutError of the client."""
        try:
            if self._can_write() and isinstance(command, list):
                self._writer.writelines(command)
                if not self._writer.transport.get_write_buffer_size():
                    return  # otherwise what follows waits, in a task of its own
                command = []
            await super().send_packed_command(command, **options)  # type: ignore[misc]
        except (AttributeError, RuntimeError) as error:
            if self.is_connected and not self._writer.is_closing():
                raise
            raise redis.exceptions.ConnectionError("closed while connecting") from error

    def _can_write(self) -> bool:
        return bool(
            self.is_connected
            and not self.health_check_interval
            and not self._writer.is_closing()
            and self._reader.exception() is None
        )

    def pack_command(self, *args: Any) -> list[bytes]:
        """A command in the server's protocol; the first argument may be several words."""
        name = args[0]
        words = name.encode().split() if isinstance(name, str) else name.split()
        encode = self.encoder.encode
        pieces = [b"*%d\r\n" % (len(words) + len(args) - 1)]
        for argument in (*words, *args[1:]):
            if type(argument) is str:
                data = argument.encode()
            elif type(argument) is bytes:
                data = argument
            else:
                data = bytes(encode(argument))
            pieces += (b"$%d\r\n" % len(data), data, b"\r\n")
        return [b"".join(pieces)]


class FastConnection(OurConnection, redis.asyncio.connection.Connection):
    """A plain connection."""


class FastSSLConnection(OurConnection, redis.asyncio.connection.SSLConnection):
    """A connection over TLS."""


def redis_client(url: str, *, cluster: bool = False, timeout_seconds: float = 5.0) -> Any:
    """A client of one server, or of the cluster that the server at `url` belongs to.

    Connects when first used and never sends a command twice: a commit that is sent again would
    fence its own owner, so trying again is the caller's decision. Raises SettingsError for a
    database other than 0 on a cluster.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
    }
    secure = url.startswith("rediss:")
    connection = FastSSLConnection if secure else FastConnection
    if not cluster:
        pool = redis.asyncio.ConnectionPool.from_url(url, **options)
        pool.connection_class = connection
        return redis.asyncio.Redis.from_pool(pool)
    try:
        client = redis.asyncio.RedisCluster.from_url(url, **options)
    except redis.exceptions.RedisClusterException as error:
        raise SettingsError(
            f"TIDEMILL_REDIS: found a database other than 0 ({error}); allowed: database 0, "
            "the only one a cluster has"
        ) from None
    # Shared with every node that the client discovers; it has no argument for it.
    client.connection_kwargs["connection_class"] = connection
    return client
