"""The executable that a server is started from, and ports lost to another program."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from cli.services import server
from cli.services.ports import free_port
from cli.services.server import executable
from cli.services.valkey import EmbeddedValkey
from tidemill.errors import ServiceError


def test_an_executable_binary_is_used_where_it_is(tmp_path: Path) -> None:
    """A binary that may be executed is not copied."""
    binary = tmp_path / "tool"
    binary.write_bytes(b"program")
    binary.chmod(0o755)
    assert binary == executable(binary, tmp_path / "data")


def test_a_binary_without_its_mode_is_copied(tmp_path: Path) -> None:
    """A binary that lost its executable bit is copied once into the data directory."""
    binary, data = tmp_path / "tool", tmp_path / "data"
    binary.write_bytes(b"program")
    data.mkdir()
    copy = executable(binary, data)
    assert data / "tool" == copy
    assert b"program" == copy.read_bytes()
    assert os.access(copy, os.X_OK)
    assert not binary.stat().st_mode & stat.S_IXUSR


def test_a_free_port_lost_to_another_program_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the chosen port is taken before the server binds it, the next one is tried."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken, free = listener.getsockname()[1], free_port()
        choices = iter([taken, free])
        monkeypatch.setattr(server, "free_port", lambda: next(choices))
        with EmbeddedValkey(tmp_path) as valkey:
            assert free == valkey.port


def test_a_failed_start_gives_the_directory_back(tmp_path: Path) -> None:
    """After a start that failed the same directory can be used at once."""
    with pytest.raises(ServiceError, match="allowed: 1 to 65535"):
        EmbeddedValkey(tmp_path, 0).start()
    with EmbeddedValkey(tmp_path) as valkey:
        valkey.require_running()
