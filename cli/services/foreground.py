"""Keep servers in the foreground until a signal asks for the end or one of them dies."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from cli.services.server import LocalServer

_POLL_SECONDS = 0.2
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_signals() -> Iterator[None]:
    """Within it SIGINT, SIGTERM and SIGHUP end the block as an orderly return would.

    They arrive as KeyboardInterrupt at whatever the block is doing, so context managers inside
    it close; the interrupt itself goes no further. Main thread only.
    """
    before = {number: signal.signal(number, signal.default_int_handler) for number in _STOPPING}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hold(servers: Sequence[LocalServer]) -> None:
    """Wait until a signal interrupts; ServiceError as soon as one of the servers has ended."""
    while True:
        for server in servers:
            server.require_running()
        time.sleep(_POLL_SECONDS)
