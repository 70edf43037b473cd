"""Settings: read once from the environment (TIDEMILL_*), frozen, units in their names."""

from __future__ import annotations

import re
from pathlib import Path

import pydantic
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidemill.errors import SettingsError

_PASSWORD = re.compile(r"://[^@\s]*@")


class Settings(BaseSettings):
    """Every knob of a process that is not part of the declaration."""

    model_config = SettingsConfigDict(env_prefix="TIDEMILL_", frozen=True)

    kafka: str | None = None
    """Bootstrap servers, host:port[,host:port]; none means embedded services."""
    redis: pydantic.RedisDsn | None = pydantic.Field(default=None, repr=False)
    """URL of Redis or Valkey, redis://host:port/db."""
    redis_cluster: bool = False
    """The server at that URL belongs to a Redis Cluster: find and use its other nodes too."""
    home: Path = Path(".tidemill")
    """Where releases, the archive and embedded services keep their data."""
    signing_key: Path | None = None
    """The private key that signs releases (Ed25519, PEM); none means one made in the home."""
    trusted_keys: Path | None = None
    """The folder of the public keys (*.pub) whose releases are served; none means the home's."""
    mlflow: str | None = pydantic.Field(
        default=None, repr=False, pattern=r"^(sqlite:///|https?://)."
    )
    """Where retrains are recorded, sqlite:///FILE or http://host:port; none means nowhere."""
    partitions: int = pydantic.Field(default=4, ge=1, le=1024)
    """Partitions of a topic that carries traffic; never change it for a project with data."""
    fetch_wait_ms: int = pydantic.Field(default=100, ge=1, le=5_000)
    """How long the broker may hold a fetch that finds nothing."""
    session_timeout_ms: int = pydantic.Field(default=6_000, ge=1_000, le=300_000)
    """A worker that is silent this long loses its partitions."""
    batch_records: int = pydantic.Field(default=50_000, ge=1, le=100_000)
    """The most records in one micro-batch."""
    snapshot_interval_ms: int = pydantic.Field(default=100, ge=20, le=3_600_000)
    """The shortest time between two snapshots of a learner."""
    catch_up_seconds: int = pydantic.Field(default=600, ge=1, le=604_800)
    """A new release that has not caught up with the champion by then is given up."""
    archive_interval_ms: int = pydantic.Field(default=5_000, ge=100, le=3_600_000)
    """The longest time a record waits before it is written to the archive."""
    archive_rows: int = pydantic.Field(default=50_000, ge=1, le=10_000_000)
    """Records of one partition that are written to the archive at once."""
    duplicate_window: int = pydantic.Field(default=50_000, ge=0, le=10_000_000)
    """An event id seen within so many offsets of its partition is a duplicate."""
    clock_skew_ms: int = pydantic.Field(default=3_600_000, ge=0)
    """How far ahead of the worker's clock an event's time may be."""
    dead_letter_limit: int = pydantic.Field(default=10_000, ge=1)
    """Dead letters in one micro-batch window that stop the consumer."""
    cache_bytes: int = pydantic.Field(default=512 * 1024 * 1024, ge=1024 * 1024)
    """What the entities' state may take of a worker's memory; the rest stays in the store."""
    pending_predictions: int = pydantic.Field(default=200_000, ge=1, le=100_000_000)
    """What may wait in one partition of the join; beyond it the oldest waits end early."""
    prediction_queue: int = pydantic.Field(default=20_000, ge=1)
    """Predictions that may wait for the broker before scoring answers 503."""
    body_limit_bytes: int = pydantic.Field(default=1_048_576, ge=1_024)
    """The largest request body."""
    batch_limit: int = pydantic.Field(default=1_000, ge=1)
    """The most requests in one call of /v1/score:batch."""
    notify: str | None = None
    """A command that gets the result of every retrain and job as JSON on its standard input."""


def read_settings() -> Settings:
    """Read the environment once; raises SettingsError naming the variable, found and allowed."""
    try:
        return Settings()
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = "TIDEMILL_" + "_".join(str(part) for part in first["loc"]).upper()
        found = _PASSWORD.sub("://***@", repr(first["input"]))
        raise SettingsError(f"{name}: found {found}; {first['msg']}") from None
