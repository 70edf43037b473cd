"""A client of the store as the settings name it: its address, TLS and the client's certificate."""

from __future__ import annotations

from typing import Any

from features.redis.client import RedisTls, redis_client
from tidemill.errors import SettingsError
from tidemill.settings import Settings

TIMEOUT_SECONDS = 5.0


def store_client(settings: Settings, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
    """The client, which connects when it is first used. Raises SettingsError."""
    if settings.redis is None:
        raise SettingsError("TIDEMILL_REDIS: found nothing; allowed: the address of the store")
    tls = RedisTls(settings.redis_ca, settings.redis_certificate, settings.redis_key)
    return redis_client(
        str(settings.redis),
        cluster=settings.redis_cluster,
        timeout_seconds=timeout_seconds,
        tls=tls,
    )
