"""How a client talks to the api, beside its address and its key."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from tidemill.client.retry import Retry


@dataclass(frozen=True, slots=True)
class Options:
    """`timeout_seconds` is for one attempt, `retry` for all of a call together.

    `verify` is False for a server whose certificate is not checked, or a context with authorities
    of one's own; `proxy` an address to go by (the environment is not read). `traceparent` gives the
    trace that the caller is in (W3C), None for none; an argument of a call goes before it.
    """

    timeout_seconds: float = 5.0
    retry: Retry = field(default_factory=Retry)
    verify: ssl.SSLContext | bool = True
    proxy: str | None = field(default=None, repr=False)
    connections: int = 100
    traceparent: Callable[[], str | None] | None = None

    def __post_init__(self) -> None:
        if not self.timeout_seconds > 0:
            raise ValueError(
                f"Options.timeout_seconds: found {self.timeout_seconds!r}; allowed: above 0"
            )
        if self.connections < 1:
            raise ValueError(f"Options.connections: found {self.connections!r}; allowed: 1 or more")
