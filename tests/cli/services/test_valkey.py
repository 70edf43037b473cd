"""The embedded Valkey: real processes, real commands."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from redis import Redis

from cli.services.valkey import EmbeddedValkey
from tidemill.errors import LockedError, ServiceError


def test_it_answers_on_loopback_and_stops(tmp_path: Path) -> None:
    """A started Valkey answers a PING at its url and is gone after the block."""
    with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as client:
        assert client.ping()
        assert f"redis://127.0.0.1:{valkey.port}/0" == valkey.url
        assert "127.0.0.1" == client.config_get("bind")["bind"]
        port = valkey.port
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)
    with pytest.raises(ServiceError, match="Valkey is not running"):
        _ = valkey.url


def test_it_keeps_its_data_between_runs_and_forgets_when_asked(tmp_path: Path) -> None:
    """Written data survives a stop and a kill -9, and is deleted only on request."""
    with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as client:
        client.set("stopped", "kept")
    with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as client:
        client.set("killed", "kept")
        os.kill(valkey.pid, signal.SIGKILL)
    with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as client:
        assert [b"kept", b"kept"] == client.mget("stopped", "killed")
    with EmbeddedValkey(tmp_path, forget=True) as valkey, Redis.from_url(valkey.url) as client:
        assert 0 == client.dbsize()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A requested port that is taken gives an error with the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServiceError, match=f"Valkey .*:{port}: another program"):
            EmbeddedValkey(tmp_path, port).start()
    with EmbeddedValkey(tmp_path, port) as valkey:
        assert port == valkey.port


def test_one_data_directory_serves_one_valkey(tmp_path: Path) -> None:
    """A second server on the same directory is refused while the first runs."""
    with EmbeddedValkey(tmp_path) as valkey:
        with pytest.raises(LockedError, match="is in use"):
            EmbeddedValkey(tmp_path).start()
        with pytest.raises(ServiceError, match="already running"):
            valkey.start()


def test_damaged_data_is_reported_with_valkeys_own_words(tmp_path: Path) -> None:
    """An append-only file that cannot be read ends the start with the log's last lines."""
    with EmbeddedValkey(tmp_path):
        pass
    for file in (tmp_path / "data" / "appendonlydir").iterdir():
        file.write_bytes(b"*1\r\nnonsense\r\n" * 100)
    with pytest.raises(ServiceError, match=r"(?s)Valkey did not start \(exit code 1\).*valkey.log"):
        EmbeddedValkey(tmp_path).start()
