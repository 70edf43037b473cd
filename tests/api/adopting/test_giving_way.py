"""What loads models gives way to what answers."""

import os
import sys
import threading

import pytest

from api.adopting.giving_way import NICENESS, loading_thread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness of threads is Linux's")


def niceness() -> tuple[int, int]:
    """This thread's, and which it is."""
    thread = threading.get_native_id()
    return os.getpriority(os.PRIO_PROCESS, thread), thread


def test_one_thread_loads_and_is_nicer_than_the_others():
    """Whoever asks stays what it was."""
    before = niceness()
    with loading_thread() as threads:
        found = {threads.submit(niceness).result() for _ in range(3)}
    assert [before[0] + NICENESS] == [nice for nice, _ in found]
    assert before == niceness()


async def test_a_snapshot_is_loaded_there(served, monkeypatch):
    """Not on the loop, and not in the threads that look after files and keys."""
    loader, nice = served.service.adoption._loader, []
    load = loader.snapshot

    def watched(*given):
        nice.append(niceness()[0])
        return load(*given)

    monkeypatch.setattr(loader, "snapshot", watched)
    served.write_snapshot(1)
    await served.service.adoption.adopt_newest()
    assert [niceness()[0] + NICENESS] == nice
