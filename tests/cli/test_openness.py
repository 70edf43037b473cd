"""An api that knows nobody listens on loopback alone, unless somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.guarding import issuer_of
from cli.openness import refuse_open
from tidemill.api_keys import KeyFile, KeyRequest
from tidemill.errors import SettingsError
from tidemill.settings import Settings

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_nobody(tmp_path: Path, host: str) -> None:
    """Only this machine's own programs get there."""
    refuse_open(Settings(home=tmp_path), "payments", host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "api.example", ""])
def test_a_network_is_refused(tmp_path: Path, host: str) -> None:
    """The error says what is allowed instead; an admin address counts as well."""
    for hosts in ((host,), ("127.0.0.1", host)):
        with pytest.raises(SettingsError, match="without any key or issuer; allowed: a loopback"):
            refuse_open(Settings(home=tmp_path), "payments", *hosts)


def test_whoever_is_known_may_be_far(tmp_path: Path) -> None:
    """With a key of this project, with an issuer, or where an operator says so."""
    KeyFile(tmp_path, "flights").create(KeyRequest("a", ["read"]), "anna", NOW_MS)
    with pytest.raises(SettingsError):
        refuse_open(Settings(home=tmp_path), "payments", "0.0.0.0")
    refuse_open(Settings(home=tmp_path), "flights", "0.0.0.0")
    issuer = {"oidc_issuer": "https://login.example", "oidc_audience": "api"}
    refuse_open(Settings(home=tmp_path, **issuer), "payments", "0.0.0.0")
    refuse_open(Settings(home=tmp_path, open=True), "payments", "0.0.0.0")


def test_an_issuer_needs_an_audience() -> None:
    """Or a token made for any other service would open this one."""
    with pytest.raises(SettingsError, match="TIDEMILL_OIDC_AUDIENCE: found nothing"):
        issuer_of(Settings(oidc_issuer="https://login.example"))
    assert issuer_of(Settings()) is None


@pytest.mark.parametrize("name", ["oidc_issuer", "oidc_keys"])
@pytest.mark.parametrize("url", ["http://login.example", "ftp://x", "https://", "login.example"])
def test_keys_come_over_tls_alone(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    """An address that somebody could answer in the issuer's place is refused."""
    from tidemill.settings import read_settings

    monkeypatch.setenv(f"TIDEMILL_{name.upper()}", url)
    with pytest.raises(SettingsError, match=f"^TIDEMILL_{name.upper()}: found"):
        read_settings()
