"""One embedded Valkey, and one cluster of them, for the contracts of a test run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the test tree has no packages

from valkey_cluster import ValkeyCluster

from cli.services.valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A real Valkey on a free port, stopped at the end."""
    data: Path = tmp_path_factory.mktemp("valkey")
    with EmbeddedValkey(data) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """A real cluster of three Valkey nodes, stopped at the end."""
    with ValkeyCluster(tmp_path_factory.mktemp("valkey-cluster")) as cluster:
        yield cluster
