"""Who calls: API keys of the home, and bearer tokens of an OpenID Connect issuer."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import structlog

from tidemill.api_keys import PREFIX, SCOPES, ApiKey, KeyFile, first_keys
from tidemill.clock import Clock
from tidemill.errors import SettingsError

if TYPE_CHECKING:
    import jwt

NEVER_MS = 2**62
# Only public-key algorithms: with a shared secret whoever checks tokens could make them.
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
LEEWAY_MS = 30_000  # clocks differ
REMEMBERED_MS = 300_000  # so long a token that was checked is not checked again
FRESH_MS = 600_000  # so long the issuer's keys are not asked for again
RETRY_MS = 30_000  # and so long not for one that is unknown
FETCH_SECONDS, MOST_BYTES = 5.0, 1024 * 1024
_MOST_REMEMBERED = 10_000
_MOST_SUBJECT = 200
_DISCOVERY = "/.well-known/openid-configuration"
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a key or token stands for, what it may do, until when, and how often (0: as set).

    `owner` is what keys share that were rotated one to the other, empty for who has no keys.
    """

    id: str
    scopes: frozenset[str]
    ends_ms: int = NEVER_MS
    quota: int = 0
    window_seconds: int = 0
    owner: str = ""


class TokenRefused(Exception):
    """A token that is not taken; the text says why, without any of it."""


class KeyRing:
    """The API keys in memory, by the digest of their text.

    `declared` is true once there was a file, and stays so: neither one that went away nor one
    that cannot be read opens the api or brings a revoked key back.
    """

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._stamp: object = None
        self._callers: dict[bytes, Caller] = {}
        self.ids: frozenset[str] = frozenset()
        self.declared = False

    def load(self) -> None:
        """Read the file. Raises SettingsError for one that cannot be read; blocks on the disk."""
        stamp = self._file.stamp()
        keys = self._file.read()
        self._stamp = stamp
        if keys is not None:
            self._take(keys)

    def look(self) -> None:
        """Read the file if it has changed; blocks on the disk. What is wrong with it is logged."""
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        try:
            keys = self._file.read()
        except SettingsError as error:
            _LOG.error("api_keys_not_read", error=str(error))
            self._stamp = stamp
            return
        self._stamp = stamp
        if keys is None:
            _LOG.error("api_keys_gone", file=str(self._file.path))
            return
        self._take(keys)
        _LOG.info("api_keys_read", keys=len(keys))

    def find(self, digest: bytes) -> Caller | None:
        """Who has the key with this digest; it may have ended."""
        return self._callers.get(digest)

    def _take(self, keys: Iterable[ApiKey]) -> None:
        found = list(keys)
        owners = first_keys(found)
        self._callers = {bytes.fromhex(key.sha256): _caller(key, owners[key.id]) for key in found}
        self.ids = frozenset(key.id for key in found)
        self.declared = True


def _caller(key: ApiKey, owner: str) -> Caller:
    ends = NEVER_MS if key.ends_ms is None else key.ends_ms
    return Caller(key.id, frozenset(key.scopes), ends, key.quota, key.window_seconds, owner)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken, for which audience; `keys` is the address of its public keys.

    Without it the issuer's discovery document says where they are (OpenID Connect Discovery 1.0,
    section 4). `claim` lists a token's scopes, ours with `prefix` before them.
    """

    url: str
    audience: str
    keys: str | None = None
    claim: str = "scope"
    prefix: str = "tidemill:"


Fetch = Callable[[str], Any]


class BearerTokens:
    """Checks JSON Web Tokens (RFC 7519) with the issuer's keys, which are fetched when needed.

    `fetch` gives the JSON at an address and may block; it raises OSError or ValueError.
    """

    def __init__(self, issuer: Issuer, clock: Clock, fetch: Fetch | None = None) -> None:
        self._issuer, self._clock, self._fetch = issuer, clock, fetch or fetch_json
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_ms = self._asked_ms = -FRESH_MS
        self._alone = asyncio.Lock()
        self._known: dict[bytes, Caller] = {}

    def find(self, digest: bytes) -> Caller | None:
        """Who has the token with this digest, if it was checked lately."""
        caller = self._known.get(digest)
        if caller is not None and caller.ends_ms <= self._clock.now_ms():
            del self._known[digest]
            return None
        return caller

    async def check(self, token: bytes) -> Caller:
        """Who the token stands for. Raises TokenRefused."""
        import jwt

        text = token.decode("latin-1")
        try:
            name = str(jwt.get_unverified_header(text).get("kid", ""))
            key = await self._key(name)
            claims = jwt.decode(
                text, key=key, algorithms=[key.algorithm_name],
                audience=self._issuer.audience, issuer=self._issuer.url,
                # The times are compared with our clock, below.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                },
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise TokenRefused(type(error).__name__) from None
        caller = self._caller(claims)
        self._remember(sha256(token).digest(), caller)
        return caller

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        now = self._clock.now_ms()
        ends = _time_ms(claims, "exp", 0) + LEEWAY_MS
        if ends <= now:
            raise TokenRefused("expired")
        if _time_ms(claims, "nbf", 0) - LEEWAY_MS > now:
            raise TokenRefused("not valid yet")
        subject = str(claims["sub"])
        if not 0 < len(subject) <= _MOST_SUBJECT or not subject.isprintable():
            raise TokenRefused("sub")
        ends = min(ends, now + REMEMBERED_MS)
        return Caller(f"oidc:{subject}", self._scopes(claims.get(self._issuer.claim)), ends)

    def _scopes(self, claim: object) -> frozenset[str]:
        words = claim.split() if isinstance(claim, str) else claim
        if not isinstance(words, list):
            return frozenset()
        prefix = self._issuer.prefix
        ours = (word for word in words if isinstance(word, str) and word.startswith(prefix))
        return frozenset(word.removeprefix(prefix) for word in ours) & SCOPES.keys()

    def _remember(self, digest: bytes, caller: Caller) -> None:
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()  # rare, and whoever calls again is checked again
        self._known[digest] = caller

    async def _key(self, name: str) -> jwt.PyJWK:
        """The issuer's key of that name; the only one where the token names none."""
        now = self._clock.now_ms()
        if now - self._fetched_ms > FRESH_MS or self._named(name) is None:
            await self._refresh(now)
        key = self._named(name)
        if key is None:
            raise TokenRefused("unknown key" if self._keys else "the issuer's keys are not there")
        return key

    def _named(self, name: str) -> jwt.PyJWK | None:
        if not name and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    async def _refresh(self, now: int) -> None:
        """Fetch the keys, at most twice a minute whatever names tokens come with."""
        async with self._alone:
            if now - self._asked_ms < RETRY_MS:
                return
            self._asked_ms = now
            try:
                self._keys = await asyncio.to_thread(self._fetched)
            except (OSError, ValueError, http.client.HTTPException) as error:
                _LOG.error("issuer_keys_not_fetched", issuer=self._issuer.url, error=str(error))
                return
            self._fetched_ms = now
            self._known.clear()  # a key that the issuer has taken back vouches for nobody

    def _fetched(self) -> Mapping[str, jwt.PyJWK]:
        import jwt

        address = self._issuer.keys or self._discovered()
        found: dict[str, jwt.PyJWK] = {}
        document = self._fetch(address)
        for place, data in enumerate(document.get("keys", ()) if document else ()):
            try:
                key = jwt.PyJWK(data)
            except (jwt.PyJWTError, AttributeError, TypeError, ValueError):
                continue  # of a kind that we do not know: other keys may do
            if key.algorithm_name in ALGORITHMS and data.get("use", "sig") == "sig":
                found[key.key_id or f"#{place}"] = key
        return found

    def _discovered(self) -> str:
        document = self._fetch(self._issuer.url.rstrip("/") + _DISCOVERY)
        address = document.get("jwks_uri")
        if document.get("issuer") != self._issuer.url or not isinstance(address, str):
            raise ValueError(f"discovery: found another issuer than {self._issuer.url}")
        if self._issuer.url.startswith("https://") and not address.startswith("https://"):
            raise ValueError(f"discovery: jwks_uri: found {address}; allowed: https://")
        return address


def _time_ms(claims: Mapping[str, Any], name: str, default: int) -> int:
    found = claims.get(name, default)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found < 2**40:
        raise TokenRefused(name)
    return int(found * 1000)


def is_api_key(token: bytes) -> bool:
    """True for what looks like a key of ours."""
    return token.startswith(PREFIX.encode())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Somebody else's redirect must not choose where keys come from."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""
        return


def fetch_json(address: str) -> Any:
    """The JSON object at an address, a megabyte at most. Raises OSError or ValueError; blocks."""
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(address, timeout=FETCH_SECONDS) as answer:
        body = answer.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ValueError(f"{address}: found more than {MOST_BYTES} bytes")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(f"{address}: found no JSON object")
    return found
