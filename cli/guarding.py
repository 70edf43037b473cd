"""The api's guard put together from the settings."""

from __future__ import annotations

import os
import socket

from api.door.auth import BearerTokens, Issuer, KeyRing
from api.door.guard import Doors, Guard
from api.door.limits import RateLimits
from api.door.trail import AuditTrail
from api.service import ScoringService
from cli.wiring import Clients
from features.limits import Quota
from features.redis.limits import RedisLimits
from tidemill.api_keys import KeyFile
from tidemill.audit import AuditLog
from tidemill.errors import SettingsError
from tidemill.settings import Settings


def guard_of(clients: Clients, service: ScoringService) -> Guard:
    """The guard of one api process. Raises SettingsError."""
    settings, clock, project = clients.settings, clients.clock, clients.plan.project.name
    keys = KeyRing(KeyFile(settings.home, project))
    keys.load()
    issuer = issuer_of(settings)
    quota = Quota(settings.rate_limit, settings.rate_window_seconds * 1000)
    limits = RateLimits(
        RedisLimits(clients.names, clients.store), quota if settings.rate_limit else None, clock
    )
    actor = f"api {socket.gethostname()}:{os.getpid()}"
    trail = AuditTrail(AuditLog(settings.home, project), service.measurements, clock, actor)
    tokens = BearerTokens(issuer, clock) if issuer else None
    doors = Doors(settings.admin_port, settings.body_limit_bytes, settings.open)
    return Guard(keys, tokens, limits, trail, clock, doors)


def issuer_of(settings: Settings) -> Issuer | None:
    """Whose bearer tokens are taken, None where nobody's are. Raises SettingsError."""
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_audience is None:
        raise SettingsError(
            "TIDEMILL_OIDC_AUDIENCE: found nothing; allowed: the audience that tokens must name, "
            "or any of the issuer's tokens would do"
        )
    return Issuer(
        settings.oidc_issuer, settings.oidc_audience, settings.oidc_keys,
        settings.oidc_claim, settings.oidc_prefix,
    )  # fmt: skip
