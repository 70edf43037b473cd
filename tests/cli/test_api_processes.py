"""Several api processes: what keeps them from starting is said once, and each has its own place."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

import pytest

from cli.api_processes import Place, run_processes
from cli.server import GARBAGE_THRESHOLDS, _settle
from cli.services.ports import free_port
from tidemill.errors import ServiceError, SettingsError
from tidemill.settings import Settings

FILE = Path(__file__).resolve().parents[2] / "examples/flights/project.py"


@pytest.mark.parametrize("first", [None, 65_534])
def test_the_processes_need_ports_of_their_own(first):
    """Without them nobody knows whose metrics a scrape gets."""
    place = Place("127.0.0.1", free_port())
    with pytest.raises(SettingsError, match="TIDEMILL_ADMIN_PORT.*--processes 4.*first of 4"):
        run_processes(FILE, Settings(admin_port=first), place, 4)


def test_a_port_in_use_is_said_once():
    """Before any process is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = Place("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ServiceError, match="in use"):
            run_processes(FILE, Settings(admin_port=free_port()), place, 2)


def test_an_admin_port_that_is_the_shared_one_is_said_once():
    """Else one of the processes would be started again for ever."""
    place = Place("127.0.0.1", free_port())
    with pytest.raises(ServiceError, match=f"port {place.port} on 127.0.0.1: in use"):
        run_processes(FILE, Settings(admin_port=place.port), place, 2)


def test_admin_ports_count_up():
    """From that of the settings; one process alone has just that."""
    settings = Settings(admin_port=9_000)
    assert 9_002 == Place("h", 1, member=2).settings(settings).admin_port
    assert 9_000 == Place("h", 1).settings(settings).admin_port
    assert Place("h", 1, member=2).settings(Settings()).admin_port is None


def test_who_serves_says_so():
    """A byte for the supervisor, where there is one."""
    listening, speaking = os.pipe()
    try:
        Place("h", 1, member=0, told=speaking).tell()
        assert b"\n" == os.read(listening, 10)
        assert b"" == os.read(listening, 10)  # and it is closed
    finally:
        os.close(listening)
    Place("h", 1).tell()


def test_a_server_that_has_started_seldom_looks_for_cycles():
    """What was loaded is left alone, and requests under way are too few to begin it."""
    thresholds = gc.get_threshold()
    try:
        _settle(Place("h", 1))
        assert (True, GARBAGE_THRESHOLDS) == (gc.get_freeze_count() > 0, gc.get_threshold())
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
