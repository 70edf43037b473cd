"""Settings: read once from the environment (TIDEMILL_*), frozen, units in their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pydantic
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidemill.errors import SettingsError

_PASSWORD = re.compile(r"://\S*@")  # a password may hold an @ itself
_SECURE_URL = r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]).+$"


class Settings(BaseSettings):
    """Every knob of a process that is not part of the declaration."""

    model_config = SettingsConfigDict(env_prefix="TIDEMILL_", frozen=True)

    kafka: str | None = None
    """Bootstrap servers, host:port[,host:port]; none means embedded services."""
    kafka_tls: bool = False
    """Speak TLS with the broker, whose certificate and name are checked."""
    kafka_ca: Path | None = None
    """The authorities (PEM) that the broker's certificate is checked with; none: the system's."""
    kafka_certificate: Path | None = None
    """The client's own certificate (PEM), where the broker asks for one."""
    kafka_key: Path | None = None
    """The key of that certificate (PEM); none means it lies in the certificate's file."""
    kafka_sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in at the broker; none means not at all."""
    kafka_user: str | None = None
    """The name to log in with."""
    kafka_password: pydantic.SecretStr | None = None
    """The password to log in with."""
    redis: pydantic.RedisDsn | None = pydantic.Field(default=None, repr=False)
    """URL of Redis or Valkey, redis://host:port/db."""
    redis_cluster: bool = False
    """The server at that URL belongs to a Redis Cluster: find and use its other nodes too."""
    redis_ca: Path | None = None
    """The authorities (PEM) that a rediss:// server is checked with; none means the system's."""
    redis_certificate: Path | None = None
    """The client's own certificate (PEM), where the store asks for one."""
    redis_key: Path | None = None
    """The key of that certificate (PEM); none means it lies in the certificate's file."""
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
    open: bool = False
    """Let an api without any key or issuer listen on other addresses than loopback."""
    admin_port: int | None = pydantic.Field(default=None, ge=1, le=65_535)
    """The port of roles, metrics and console, which the other then has not; none: one for all."""
    admin_host: str = "127.0.0.1"
    """The address that the admin port listens on."""
    oidc_issuer: str | None = pydantic.Field(default=None, pattern=_SECURE_URL)
    """The issuer whose bearer tokens are taken, as they name it; none means no tokens."""
    oidc_audience: str | None = None
    """The audience that a token must name; needed with an issuer."""
    oidc_keys: str | None = pydantic.Field(default=None, pattern=_SECURE_URL)
    """Where the issuer's public keys are (JWKS); none means that its discovery document says it."""
    oidc_claim: str = pydantic.Field(default="scope", min_length=1)
    """The claim that lists a token's scopes: words in one text, or a list."""
    oidc_prefix: str = "tidemill:"
    """What stands before our scopes in that claim, such as tidemill:score."""
    rate_limit: int = pydantic.Field(default=0, ge=0, le=1_000_000_000)
    """Requests in a window for a caller whose key says nothing of its own; 0 means no limit."""
    rate_window_seconds: int = pydantic.Field(default=60, ge=1, le=86_400)
    """The length of that window."""
    request_seconds: int = pydantic.Field(default=10, ge=1, le=600)
    """How long a caller may take to send a request, head and body."""
    head_limit_bytes: int = pydantic.Field(default=32_768, ge=1_024, le=1_048_576)
    """The largest head of a request: its path, query and headers."""
    traces: str | None = pydantic.Field(default=None, repr=False, pattern=r"^https?://.")
    """Where traces of requests go (OTLP over HTTP), http://host:4318/v1/traces; none: nowhere."""
    trace_share: float = pydantic.Field(default=0.01, ge=0, le=1)
    """The share of requests that are traced of those whose caller does not say."""
    notify: str | None = None
    """A command that gets the result of every retrain and job as JSON on its standard input."""


def read_settings() -> Settings:
    """Read the environment once; raises SettingsError naming the variable, found and allowed."""
    try:
        return Settings()
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = "TIDEMILL_" + "_".join(str(part) for part in first["loc"]).upper()
        found = "***" if "PASSWORD" in name else _PASSWORD.sub("://***@", repr(first["input"]))
        raise SettingsError(f"{name}: found {found}; {first['msg']}") from None
