"""Settings come from the environment, once, and a bad one is named."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from tidemill.errors import SettingsError
from tidemill.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TIDEMILL_{name.upper()}", raising=False)


def test_without_variables_services_are_embedded() -> None:
    """The defaults need no environment."""
    settings = read_settings()
    assert (None, None, Path(".tidemill")) == (settings.kafka, settings.redis, settings.home)


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting has its TIDEMILL_ variable."""
    monkeypatch.setenv("TIDEMILL_KAFKA", "localhost:9092")
    monkeypatch.setenv("TIDEMILL_REDIS", "redis://localhost:6379/2")
    monkeypatch.setenv("TIDEMILL_PARTITIONS", "8")
    settings = read_settings()
    expected = ("localhost:9092", "redis://localhost:6379/2", 8)
    assert expected == (settings.kafka, str(settings.redis), settings.partitions)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEMILL_PARTITIONS", "0"),
        ("TIDEMILL_PARTITIONS", "four"),
        ("TIDEMILL_REDIS", "localhost:6379"),
        ("TIDEMILL_SESSION_TIMEOUT_MS", "1"),
        ("TIDEMILL_BODY_LIMIT_BYTES", "1.5"),
    ],
)
def test_a_bad_variable_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The error names the variable and what was found."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: found '{value}'; "):
        read_settings()


def test_a_password_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings' text nor an error shows the store's password."""
    monkeypatch.setenv("TIDEMILL_REDIS", "redis://user:hidden@localhost:6379/0")
    shown = repr(read_settings())
    monkeypatch.setenv("TIDEMILL_REDIS", "http://user:some@hidden@localhost:6379/0")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert (False, False) == ("hidden" in shown, "hidden" in str(caught.value))


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen."""
    with pytest.raises(pydantic.ValidationError):
        read_settings().partitions = 2  # type: ignore[misc]
