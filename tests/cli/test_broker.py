"""TLS and the login for Kafka come from the settings, are checked when said, and never shown."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from cli.broker import Broker, broker_of, options_of
from tidemill.errors import SettingsError
from tidemill.settings import Settings


def settings(**given: object) -> Settings:
    """Settings with a broker and what is given."""
    return Settings(kafka="localhost:9092", **given)  # type: ignore[arg-type]


def test_an_address_alone_is_a_plain_broker() -> None:
    """Nothing is added where nothing is declared."""
    plain = {"bootstrap_servers": "localhost:9092"}
    assert plain == options_of(broker_of(settings())) == options_of("localhost:9092")
    assert "localhost:9092" == str(broker_of(settings()))


def test_tls_checks_certificate_and_name() -> None:
    """By the system's authorities, where no others are named."""
    options = options_of(broker_of(settings(kafka_tls=True)))
    context = options["ssl_context"]
    assert ("SSL", ssl.CERT_REQUIRED, True) == (
        options["security_protocol"], context.verify_mode, context.check_hostname,
    )  # fmt: skip


@pytest.mark.parametrize(("tls", "protocol"), [(True, "SASL_SSL"), (False, "SASL_PLAINTEXT")])
def test_a_login_is_part_of_the_options(tls: bool, protocol: str) -> None:
    """With TLS or without."""
    login = {"kafka_sasl": "SCRAM-SHA-512", "kafka_user": "anna", "kafka_password": "hidden"}
    options = options_of(broker_of(settings(kafka_tls=tls, **login)))
    assert (protocol, "SCRAM-SHA-512", "anna", "hidden") == (
        options["security_protocol"], options["sasl_mechanism"],
        options["sasl_plain_username"], options["sasl_plain_password"],
    )  # fmt: skip


def test_a_broker_does_not_show_its_password() -> None:
    """Neither it nor the settings, in whatever words."""
    declared = settings(kafka_sasl="PLAIN", kafka_user="anna", kafka_password="hidden")
    broker = broker_of(declared)
    shown = [repr(broker), str(broker), repr(declared), str(declared), declared.model_dump_json()]
    assert not any("hidden" in text for text in shown)
    assert isinstance(broker, Broker)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kafka_ca": Path("/ca.pem")}, "TIDEMILL_KAFKA_CA: found a file"),
        ({"kafka_tls": True, "kafka_ca": Path("/no/ca.pem")}, "TIDEMILL_KAFKA_CA: /no/ca.pem"),
        ({"kafka_tls": True, "kafka_key": Path(__file__)}, "TIDEMILL_KAFKA_CERTIFICATE: found no"),
        (
            {"kafka_tls": True, "kafka_certificate": Path(__file__)},
            "TIDEMILL_KAFKA_CERTIFICATE: found no certificate with its key",
        ),
        ({"kafka_user": "anna"}, "TIDEMILL_KAFKA_SASL: found nothing"),
        ({"kafka_sasl": "PLAIN", "kafka_user": "a"}, "TIDEMILL_KAFKA_PASSWORD: found nothing"),
        ({"kafka_sasl": "PLAIN", "kafka_password": "hidden"}, "TIDEMILL_KAFKA_USER: found nothing"),
    ],
)
def test_a_mistake_names_the_variable(given: dict[str, object], named: str) -> None:
    """And never the password."""
    with pytest.raises(SettingsError, match=f"^{named}") as caught:
        broker_of(settings(**given))
    assert "hidden" not in str(caught.value)


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    """A file that holds no certificate is named."""
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(
        SettingsError, match=r"TIDEMILL_KAFKA_CA: found no certificate in .*ca\.pem"
    ):
        broker_of(settings(kafka_tls=True, kafka_ca=tmp_path / "ca.pem"))


def test_without_an_address_there_is_no_broker() -> None:
    """The variable is named."""
    with pytest.raises(SettingsError, match="^TIDEMILL_KAFKA: found nothing"):
        broker_of(Settings())
