"""One embedded Valkey for the contracts of a test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.services.valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A real Valkey on a free port, stopped at the end."""
    data: Path = tmp_path_factory.mktemp("valkey")
    with EmbeddedValkey(data) as server:
        yield server
