"""The small project's app behind a guard, with what a test changes at hand."""

from dataclasses import dataclass, field, replace
from typing import Any

from api.door.auth import BearerTokens, KeyRing
from api.door.guard import Doors, Guard
from api.door.limits import RateLimits
from api.door.trail import AuditTrail
from api.http.app import ScoringApp, create_app
from features.limits import MemoryLimits, Quota
from tidemill.api_keys import KeyFile, KeyRequest
from tidemill.audit import AuditEntry, AuditLog


@dataclass
class Guarded:
    """A guarded app, the keys and the audit log of its home, and its store of limits."""

    world: Any
    tokens: BearerTokens | None = None
    quota: Quota | None = None
    admin_port: int | None = None
    keys: KeyFile = field(init=False)
    app: ScoringApp = field(init=False)

    def __post_init__(self) -> None:
        home, clock = self.world.registry.home, self.world.clock
        self.keys, self.log = KeyFile(home, "payments"), AuditLog(home, "payments")
        self.ring, self.store = KeyRing(self.keys), MemoryLimits(clock.now_ms)
        self.limits = RateLimits(self.store, self.quota, clock)
        self.trail = AuditTrail(self.log, self.world.service.measurements, clock, "api test:1")
        doors = Doors(self.admin_port, 65_536)
        self.guard = Guard(self.ring, self.tokens, self.limits, self.trail, clock, doors)
        self.app = create_app(self.world.service, self.guard)

    def key(self, *scopes: str, **request: object) -> str:
        """A new key with these scopes, known to the app."""
        asked = replace(KeyRequest("test", scopes), **request)
        _, text = self.keys.create(asked, "test", self.world.clock.now_ms())
        self.ring.look()
        return text

    async def told(self, action: str) -> list[AuditEntry]:
        """What the audit log has of this action, all that happened written."""
        await self.trail.write(everything=True)
        return [entry for entry in self.log.entries() if entry.action == action]


def with_key(key: str) -> list[tuple[bytes, bytes]]:
    """The headers of a request with a key."""
    return [(b"x-api-key", key.encode())]


def with_token(token: str) -> list[tuple[bytes, bytes]]:
    """The headers of a request with a bearer token."""
    return [(b"authorization", f"Bearer {token}".encode())]
