"""Faust's own clients get the same TLS and login as ours."""

import ssl

from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.app import _credentials


def said(security: dict[str, object]) -> dict[str, object]:
    """What Faust makes its clients with, nothing left empty."""
    found = credentials_to_aiokafka_auth(_credentials(security))
    return {name: value for name, value in found.items() if value is not None}


def test_a_plain_broker_needs_nothing() -> None:
    """No credentials at all."""
    assert _credentials({}) is None


def test_tls_and_login_are_handed_on() -> None:
    """What goes in as options of aiokafka comes out as the same options."""
    context = ssl.create_default_context()
    login = {
        "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "a", "sasl_plain_password": "b",
    }  # fmt: skip
    for security in (
        {"security_protocol": "SSL", "ssl_context": context},
        {"security_protocol": "SASL_SSL", "ssl_context": context, **login},
        {"security_protocol": "SASL_PLAINTEXT", **login},
    ):
        assert security == said(security)
