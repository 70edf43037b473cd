"""The settings of the embedding net name what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.errors import DeclarationError
from tidemill.learner_kinds import EmbeddingNet


@pytest.mark.parametrize(
    "settings",
    [
        {"embedding": 0},
        {"hidden": ()},
        {"hidden": [32, 16]},
        {"hidden": (8,) * 5},
        {"hidden": (8, 0)},
        {"learning_rate": 2},
        {"block": 0},
        {"admit_after": 0},
        {"expires_after": 0},
        {"max_rows": 0},
        {"seed": -1},
    ],
)
def test_a_mistake_names_its_field(settings: dict[str, Any]) -> None:
    """The error has the learner's name, the field, what was found and what is allowed."""
    (field,) = settings
    with pytest.raises(DeclarationError, match=rf"EmbeddingNet ids\.{field}: found .*; allowed: "):
        EmbeddingNet(name="ids", **settings)


def test_rows_may_stay_for_ever() -> None:
    """Without `expires_after` no row is freed."""
    assert EmbeddingNet(expires_after=None).expires_after is None
