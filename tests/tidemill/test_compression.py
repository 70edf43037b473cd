"""What can be declared of compression."""

from __future__ import annotations

from typing import Any

import pytest

import tidemill as tm
from tidemill.errors import DeclarationError


def test_the_defaults() -> None:
    """Four times smaller for one percent, as a wish."""
    declared = tm.Compression()
    assert (4.0, 0.01, False, True) == (
        declared.smaller, declared.loss, declared.required, declared.has_target
    )  # fmt: skip
    assert not tm.Compression(smaller=None).has_target


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"smaller": 0.5}, "smaller"),
        ({"faster": "2"}, "faster"),
        ({"most_bytes": 0}, "most_bytes"),
        ({"most_bytes": 1.5}, "most_bytes"),
        ({"most_microseconds": -1.0}, "most_microseconds"),
        ({"loss": 2.0}, "loss"),
        ({"required": 1}, "required"),
        ({"required": True, "smaller": None}, "required"),
        ({"methods": ()}, "methods"),
        ({"methods": ["prune"]}, "methods"),
        ({"methods": ("prune", "prune")}, "methods"),
        ({"methods": ("zip",)}, "methods"),
    ],
)
def test_a_mistake_is_named(parts: dict[str, Any], name: str) -> None:
    """With what was found and what is allowed."""
    with pytest.raises(DeclarationError, match=f"^Compression.{name}: found .*; allowed: "):
        tm.Compression(**parts)
