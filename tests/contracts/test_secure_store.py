"""The store by an ACL user with no more rights than it needs, and over TLS with certificates."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from certificates import Authority, Pair

from cli.services.valkey import EmbeddedValkey
from cli.store_client import store_client
from features.limits import Quota
from features.redis.client import redis_client
from features.redis.limits import RedisLimits
from features.redis.store import RedisStore
from features.redis.usage import RedisUsage
from features.store import Commit
from tidemill.errors import SettingsError, StoreUnavailable
from tidemill.settings import Settings
from tidemill.topics import Names

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
PASSWORD = "store-secret-77b0"


def rights() -> list[str]:
    """The ACL rule that the documentation recommends, its words for the name filled in."""
    (line,) = re.findall(r"^ACL SETUSER (.+)$", SECURITY.read_text(), re.MULTILINE)
    return line.replace("PASSWORD", PASSWORD).replace("PROJECT", "payments").split()


@pytest.fixture(scope="module")
def guarded_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A Valkey of this module's own."""
    with EmbeddedValkey(tmp_path_factory.mktemp("guarded-valkey")) as server:
        yield server


@pytest.fixture
async def url(guarded_valkey: EmbeddedValkey) -> str:
    """Its address with the documented user, who was made for it."""
    client = redis_client(guarded_valkey.url)
    await client.execute_command("ACL", "SETUSER", *rights())
    await client.aclose()
    return f"redis://{rights()[0]}:{PASSWORD}@{guarded_valkey.address}/0"


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisStore]:
    """The store as that user."""
    client = store_client(Settings(redis=url))  # type: ignore[arg-type]
    yield RedisStore(client)
    await client.aclose()


async def test_the_documented_rights_are_enough(store: RedisStore, url: str) -> None:
    """Reading, the fence, writing, limits and measuring all go."""
    names = Names("payments", 4, "s", "v")
    key = names.blob(1, "card", uuid4().hex)
    fence = names.fence("fold", 1)
    epoch = (await store.claim(fence))["epoch"]
    await store.commit(
        Commit(fence, names.side("fold", 1), epoch, {}, {"offset:updates": 5}, {"events": 2},
               {"a": b"1"}, ["b"], [(key, b"blob")], [60_000])
    )  # fmt: skip
    assert [b"blob"] == await store.read([key])
    assert {"a": b"1"} == await store.side(names.side("fold", 1))
    assert 5 == (await store.fence_fields([fence]))[0]["offset:updates"]
    await store.write([(names.status(), b"{}")])
    assert 3 == (await RedisLimits(names, store).lease(uuid4().hex, 3, Quota(9, 60_000))).granted
    client = store_client(Settings(redis=url))  # type: ignore[arg-type]
    usage = await RedisUsage(names, ["card"], client).measure(1000, lambda done, total: None)
    assert usage.usages
    await client.aclose()


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("DEBUG", "SLEEP", "0"),
        ("ACL", "LIST"), ("SHUTDOWN",), ("GET", "{flights:0}:status:v"), ("REPLICAOF", "a", "1"),
        ("EVAL", "return redis.call('GET', KEYS[1])", "1", "{flights:0}:status:v"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"), ("SUBSCRIBE", "x"), ("MODULE", "LIST"),
    ],
    ids=" ".join,
)  # fmt: skip
async def test_the_documented_rights_are_not_more(url: str, command: tuple[str, ...]) -> None:
    """Neither other projects' keys nor the server itself are within reach."""
    import redis.exceptions

    client = redis_client(url)
    with pytest.raises(redis.exceptions.ResponseError, match="permissions|not allowed"):
        await client.execute_command(*command)
    await client.aclose()


async def test_a_wrong_password_is_not_shown(guarded_valkey: EmbeddedValkey, url: str) -> None:
    """The store is unavailable, and the message has neither password."""
    wrong = url.replace(PASSWORD, "wrong-93aa")
    client = store_client(Settings(redis=wrong))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable) as caught:
        await RedisStore(client).read(["{payments:0}:x"])
    assert not any(secret in str(caught.value) for secret in (PASSWORD, "wrong-93aa"))
    await client.aclose()


@asynccontextmanager
async def tls_before(
    server: EmbeddedValkey, authority: Authority, pair: Pair
) -> AsyncIterator[int]:
    """A port that speaks TLS, wants a client's certificate, and hands on to the server.

    The embedded server was built without TLS.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    context.load_cert_chain(pair.certificate, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pass_on(reader, inner[1]), pass_on(inner[0], writer))

    listening = await asyncio.start_server(connect, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for the store."""
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_the_store_is_reached_over_tls(
    guarded_valkey: EmbeddedValkey, authority: Authority
) -> None:
    """With the declared authority and the client's certificate, alone and with its key beside."""
    client_pair = authority.sign("client")
    async with tls_before(guarded_valkey, authority, authority.sign("store")) as port:
        for files in (
            {"redis_certificate": client_pair.both},
            {"redis_certificate": client_pair.certificate, "redis_key": client_pair.key},
        ):
            found = Settings(
                redis=f"rediss://127.0.0.1:{port}/0",  # type: ignore[arg-type]
                redis_ca=authority.ca,
                **files,
            )
            client = store_client(found)
            store = RedisStore(client)
            await store.write([("{payments:0}:tls", b"yes")])
            assert [b"yes"] == await store.read(["{payments:0}:tls"])
            await client.aclose()


async def test_a_store_that_cannot_prove_itself_is_refused(
    guarded_valkey: EmbeddedValkey, authority: Authority, tmp_path: Path
) -> None:
    """By another authority, for another address, or to a client without a certificate."""
    other = Authority(tmp_path)
    client_pair = authority.sign("client")
    cases = [
        (authority.sign("store"), other.ca, client_pair),
        (authority.sign("elsewhere", "127.0.0.2"), authority.ca, client_pair),
        (authority.sign("store"), authority.ca, None),
    ]
    for server_pair, ca, shown in cases:
        async with tls_before(guarded_valkey, authority, server_pair) as port:
            found = Settings(
                redis=f"rediss://127.0.0.1:{port}/0",  # type: ignore[arg-type]
                redis_ca=ca,
                redis_certificate=shown.both if shown else None,
            )
            client = store_client(found, 2.0)
            with pytest.raises(StoreUnavailable):
                await RedisStore(client).read(["{payments:0}:tls"])
            await client.aclose()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"redis": "redis://h:1/0", "redis_ca": "/x"}, "TIDEMILL_REDIS_CA: found a file"),
        ({"redis": "rediss://h:1/0", "redis_ca": "/no/x"}, "TIDEMILL_REDIS_CA: /no/x: No such"),
        ({"redis": "rediss://h:1/0", "redis_key": __file__}, "TIDEMILL_REDIS_CERTIFICATE: found"),
        (
            {"redis": "rediss://h:1/0?ssl_cert_reqs=none"},
            "TIDEMILL_REDIS: found the option ssl_cert_reqs",
        ),
        (
            {"redis": "rediss://h:1/0?ssl_check_hostname=false"},
            "TIDEMILL_REDIS: found the option ssl_check_hostname",
        ),
    ],
)
def test_a_mistake_names_the_variable(given: dict[str, str], named: str) -> None:
    """Also one that would have checked less."""
    with pytest.raises(SettingsError, match=f"^{re.escape(named)}"):
        store_client(Settings(**given))  # type: ignore[arg-type]
