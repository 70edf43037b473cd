"""A client of Redis, Valkey or a cluster of them, made for commands with thousands of arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hiredis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.retry
import redis.backoff
import redis.exceptions

from tidemill.errors import SettingsError


class OurConnection:
    """Mixed into a connection for what the client's own does not do well.

    It packs a command eight times as fast: a micro-batch's commit is one command with two arguments
    for every entity. It writes at once what the socket takes at once, without a task that waits
    for it. And where another task closes it while it connects, as a cluster's client does
    with all connections of a node that failed, the error is a ConnectionError like any other.
    """

    encoder: Any
    is_connected: bool
    health_check_interval: float
    _reader: Any
    _writer: Any

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send what `pack_command` made; raises ConnectionError and TimeoutError of the client."""
        try:
            if self._can_write() and isinstance(command, list):
                self._writer.writelines(command)
                if not self._writer.transport.get_write_buffer_size():
                    return
                command = []  # all of it is written; the client waits until it is sent
            await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except (AttributeError, RuntimeError) as error:
            if self.is_connected and not self._writer.is_closing():
                raise
            raise redis.exceptions.ConnectionError("closed while connecting") from error

    def _can_write(self) -> bool:
        """False where there is anything to be done or to be told before."""
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
        try:
            return [_packed((*words, *args[1:]))]
        except TypeError:  # something that only the client's encoder knows, or refuses
            encode = self.encoder.encode
            return [_packed((*words, *(bytes(encode(argument)) for argument in args[1:])))]


def _packed(arguments: Any) -> bytes:
    return bytes(hiredis.pack_command(arguments))  # its type knows one word only


class FastConnection(OurConnection, redis.asyncio.connection.Connection):
    """A plain connection."""


class FastSSLConnection(OurConnection, redis.asyncio.connection.SSLConnection):
    """A connection over TLS."""


@dataclass(frozen=True, slots=True)
class RedisTls:
    """Files (PEM) for TLS: the authorities that vouch for the server, and the client's own.

    Without authorities the system's are taken. The server's certificate and name are always
    checked.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def options(self, url: str) -> dict[str, Any]:
        """What the client is made with. Raises SettingsError for what cannot be used."""
        files = {"ca": self.ca, "certificate": self.certificate, "key": self.key}
        given = {name: path for name, path in files.items() if path is not None}
        for name, path in given.items():
            variable = f"TIDEMILL_REDIS_{name.upper()}"
            if not url.startswith("rediss:"):
                raise SettingsError(f"{variable}: found a file; allowed: one with a rediss:// URL")
            try:
                path.read_bytes()
            except OSError as error:
                raise SettingsError(f"{variable}: {path}: {error.strerror}") from None
        if self.key is not None and self.certificate is None:
            raise SettingsError(
                "TIDEMILL_REDIS_CERTIFICATE: found nothing; allowed: that of the key"
            )
        names = {"ca": "ssl_ca_certs", "certificate": "ssl_certfile", "key": "ssl_keyfile"}
        return {names[name]: str(path) for name, path in given.items()}


def redis_client(
    url: str, *, cluster: bool = False, timeout_seconds: float = 5.0, tls: RedisTls | None = None
) -> Any:
    """A client of one server, or of the cluster that the server at `url` belongs to.

    Connects when first used and never sends a command twice: a commit that is sent again would
    fence its own owner, so trying again is the caller's decision. Raises SettingsError for files or
    options of TLS that cannot be used, and for a database other than 0 on a cluster.
    """
    _check_url(url)
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
        **(tls.options(url) if tls else {}),
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


def _check_url(url: str) -> None:
    """The client takes any option out of the URL, also those that check less."""
    for name in parse_qs(urlsplit(url).query):
        if name.startswith("ssl_"):
            raise SettingsError(
                f"TIDEMILL_REDIS: found the option {name}; allowed: TIDEMILL_REDIS_CA, "
                "TIDEMILL_REDIS_CERTIFICATE and TIDEMILL_REDIS_KEY for TLS"
            )


class KeptConnections:
    """Connections of a client of one server, kept for commands that must be answered fast.

    What `execute_command` does around every command, taking a connection out of the pool and
    measuring, takes as long as a small read. They are closed with the client.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._idle: list[Any] = []

    async def ask(self, *command: str | int | bytes) -> Any:
        """The answer to a command as the server gives it; raises what `execute_command` raises."""
        connection = self._idle.pop() if self._idle else await self._pool.get_connection()
        try:
            if connection.is_connected and await connection.can_read():
                await connection.disconnect()  # nothing was asked: the server has closed it
            await connection.connect()
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            self._idle.append(connection)
