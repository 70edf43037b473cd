"""Durations as people write them."""

from __future__ import annotations

import pytest

from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("5min", 300_000),
        ("6h", 21_600_000),
        ("14d", 1_209_600_000),
    ],
)
def test_a_duration_is_its_milliseconds(text: str, expected: int) -> None:
    """Each unit is converted to milliseconds."""
    assert expected == duration_ms("wait", text)


@pytest.mark.parametrize(
    "text", ["", "6", "h", "0h", "-1h", "1.5h", "6 h", "6H", "1h30min", 6, None]
)
def test_anything_else_names_the_place(text: object) -> None:
    """What is no positive duration is refused with the name it stood under."""
    with pytest.raises(DeclarationError) as caught:
        duration_ms("Label.wait", text)  # type: ignore[arg-type]
    assert ("Label.wait", text) == (caught.value.name, caught.value.found)
