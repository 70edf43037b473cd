"""How every Kafka client of ours reaches the broker: its address, TLS and a login, in one place."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemill.errors import SettingsError
from tidemill.settings import Settings


@dataclass(frozen=True)
class Broker:
    """Bootstrap servers, and what a client needs to be let in: options of aiokafka, never shown."""

    servers: str
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.servers


def options_of(broker: Broker | str) -> dict[str, Any]:
    """What every aiokafka client is made with; an address alone is a broker without TLS or login.

    >>> options_of("localhost:9092")
    {'bootstrap_servers': 'localhost:9092'}
    """
    if isinstance(broker, str):
        return {"bootstrap_servers": broker}
    return {"bootstrap_servers": broker.servers, **broker.security}


def broker_of(settings: Settings) -> Broker:
    """The broker that the settings name. Raises SettingsError, naming the variable."""
    if settings.kafka is None:
        raise SettingsError("TIDEMILL_KAFKA: found nothing; allowed: the address of the broker")
    context = _context(settings) if settings.kafka_tls else None
    if context is None:
        for name in ("kafka_ca", "kafka_certificate", "kafka_key"):
            if getattr(settings, name) is not None:
                raise SettingsError(
                    f"TIDEMILL_{name.upper()}: found a file; allowed: with TIDEMILL_KAFKA_TLS=true"
                )
    login = _login(settings)
    if context is None and not login:
        return Broker(settings.kafka)
    protocol = ("SASL_" if login else "") + ("SSL" if context else "PLAINTEXT")
    security = {"security_protocol": protocol, **login}
    return Broker(settings.kafka, security | ({"ssl_context": context} if context else {}))


def _login(settings: Settings) -> dict[str, Any]:
    if settings.kafka_sasl is None:
        if settings.kafka_user is not None or settings.kafka_password is not None:
            raise SettingsError(
                "TIDEMILL_KAFKA_SASL: found nothing, with a user or a password; allowed: PLAIN, "
                "SCRAM-SHA-256 or SCRAM-SHA-512"
            )
        return {}
    for name in ("kafka_user", "kafka_password"):
        if getattr(settings, name) is None:
            raise SettingsError(
                f"TIDEMILL_{name.upper()}: found nothing; allowed: what TIDEMILL_KAFKA_SASL="
                f"{settings.kafka_sasl} logs in with"
            )
    assert settings.kafka_password is not None
    return {
        "sasl_mechanism": settings.kafka_sasl,
        "sasl_plain_username": settings.kafka_user,
        "sasl_plain_password": settings.kafka_password.get_secret_value(),
    }


def _context(settings: Settings) -> ssl.SSLContext:
    """Checks the broker's certificate and name; there is no setting that does not."""
    authorities = _file("TIDEMILL_KAFKA_CA", settings.kafka_ca)
    try:
        context = ssl.create_default_context(cafile=authorities)
    except ssl.SSLError as error:
        raise SettingsError(
            f"TIDEMILL_KAFKA_CA: found no certificate in {authorities} ({error.reason}); allowed: "
            "those of authorities in PEM"
        ) from None
    certificate = _file("TIDEMILL_KAFKA_CERTIFICATE", settings.kafka_certificate)
    key = _file("TIDEMILL_KAFKA_KEY", settings.kafka_key)
    if key is not None and certificate is None:
        raise SettingsError("TIDEMILL_KAFKA_CERTIFICATE: found nothing; allowed: that of the key")
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_refuse_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            found = getattr(error, "reason", None) or str(error)
            raise SettingsError(
                f"TIDEMILL_KAFKA_CERTIFICATE: found no certificate with its key in {certificate}"
                f" ({found}); allowed: both in PEM, the key without a password"
            ) from None
    return context


def _refuse_password() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key has a password")


def _file(name: str, path: Path | None) -> Path | None:
    """The path of a file that can be read."""
    if path is None:
        return None
    try:
        path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: {path}: {error.strerror}") from None
    return path
