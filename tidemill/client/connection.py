"""What the two clients have in common: the api's address, the key, and what httpx is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tidemill import __version__
from tidemill.client.asking import Asking
from tidemill.client.errors import NoAnswer
from tidemill.client.options import Options
from tidemill.client.retry import Attempts

Key = str | Callable[[], str]
"""An API key or a bearer token, or what gives one for each request."""

# What happens before the first byte of a request is on its way.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MISTAKES = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""What the caller has to mend: no other attempt would do better."""
_FIXED = {"user-agent": f"tidemill-client/{__version__}", "accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the api is and who calls; its repr has no key."""

    url: httpx.URL
    options: Options
    key: Key | None = field(default=None, repr=False)

    @classmethod
    def to(cls, url: str, key: Key | None, options: Options) -> Connection:
        """Raises ValueError for an address that is none, without repeating a password in it."""
        try:
            found = httpx.URL(url)
        except (httpx.InvalidURL, TypeError):
            raise ValueError(
                "url: found one that is no URL; allowed: http(s)://host:port"
            ) from None
        if found.scheme not in ("http", "https") or not found.host:
            raise ValueError(f"url: found {found!r}; allowed: http(s)://host:port")
        return cls(found, options, key or None)

    def __str__(self) -> str:
        return f"{self.url!r}, key={'***' if self.key else None}"

    @property
    def settings(self) -> dict[str, Any]:
        """What an httpx client is made with."""
        options = self.options
        return {
            "base_url": self.url,
            "verify": options.verify,
            "proxy": options.proxy,
            "trust_env": False,
            "limits": httpx.Limits(
                max_connections=options.connections, max_keepalive_connections=options.connections
            ),
        }

    def attempts(self, asking: Asking[Any], now: float) -> Attempts:
        """The attempts of one call."""
        return Attempts(self.options.retry, asking.repeatable, now)

    def headers(self, asking: Asking[Any], traceparent: str | None) -> dict[str, str]:
        """The headers of one call. Raises ValueError for what cannot stand in one, without it."""
        headers = _FIXED | dict(asking.headers)
        if asking.body:
            headers["content-type"] = "application/json"
        key = self.key() if callable(self.key) else self.key
        if key:
            headers["authorization"] = f"Bearer {key}"
        if traceparent is None and self.options.traceparent is not None:
            traceparent = self.options.traceparent()
        if traceparent is not None:
            headers["traceparent"] = traceparent
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable() and value == value.strip()):
                found = "key" if name == "authorization" else name
                raise ValueError(f"{found}: found other characters; allowed: visible ASCII ones")
        return headers

    def request(
        self, asking: Asking[Any], headers: dict[str, str], seconds_left: float
    ) -> dict[str, Any]:
        """What httpx is to send; no step of it takes longer than is left."""
        seconds = max(0.001, min(self.options.timeout_seconds, seconds_left))
        return {
            "method": asking.method, "url": asking.path, "params": asking.params or None,
            "content": asking.body or None, "headers": headers, "timeout": seconds,
        }  # fmt: skip

    def failure(self, error: httpx.HTTPError) -> NoAnswer:
        """What it means that httpx could not get an answer.

        Raises ValueError for a request that cannot be sent. httpx would show it, and what is in it.
        """
        if isinstance(error, _MISTAKES):
            kind = type(error).__name__
            raise ValueError(f"request: found {kind}; allowed: what HTTP can carry") from None
        problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return NoAnswer(repr(self.url), problem, not isinstance(error, _NOT_SENT))
