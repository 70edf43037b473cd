"""Lets the streams' tests import the world beside them, and builds one for each test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stream_world import World  # noqa: E402 - only found after the line above


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A project's log, store and registry, all empty."""
    return World(tmp_path)
