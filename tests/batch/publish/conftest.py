"""A registry of a shop."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tidemill.registry import Registry

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry."""
    return Registry(tmp_path, "shop")
