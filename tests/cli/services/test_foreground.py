"""Signals as an orderly end, and servers that die while they are held."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cli.services.foreground import hold, stop_signals
from cli.services.valkey import EmbeddedValkey
from tidemill.errors import ServiceError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_the_block_in_order(number: signal.Signals) -> None:
    """The block ends at once, its context is closed, and the handlers are as before."""
    before = signal.getsignal(number)
    closed = False
    with stop_signals():
        try:
            os.kill(os.getpid(), number)
            pytest.fail("the signal did not interrupt")
        finally:
            closed = True
    assert closed
    assert before == signal.getsignal(number)


def test_a_server_that_dies_ends_the_hold(tmp_path: Path) -> None:
    """A held server that is killed raises at once, saying which and how."""
    with EmbeddedValkey(tmp_path) as valkey:
        os.kill(valkey.pid, signal.SIGKILL)
        with pytest.raises(ServiceError, match=r"Valkey ended by itself \(signal SIGKILL\)"):
            hold([valkey])
