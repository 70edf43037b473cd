"""Free and taken loopback ports."""

from __future__ import annotations

import socket

import pytest

from cli.services.ports import free_port, is_free, require_free
from tidemill.errors import ServiceError


def test_a_free_port_is_free_and_outside_the_range_of_outgoing_connections() -> None:
    """A free port can be listened on and no client can hold it by chance."""
    port = free_port()
    assert is_free(port)
    assert 1024 < port < 32_768


def test_a_port_with_a_listener_is_not_free() -> None:
    """A port somebody listens on is refused with its number and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(ServiceError, match=f"Kafka .*:{port}: another program .*choose anoth"):
            require_free("Kafka", port)


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    """A number outside the ports is refused with the allowed range."""
    with pytest.raises(ServiceError, match=f"found {port}; allowed: 1 to 65535"):
        require_free("Kafka", port)
