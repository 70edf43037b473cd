"""A thread that loads models and gives way, on a processor both want, to the one that answers."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

# One that is no nicer than the loop gets half of the processor while it loads, in slices of some
# milliseconds that answers wait for; with 10 the loop gets nine tenths. Not 19: while it holds
# Python's lock the loop waits for it, and where other processes want the processor that is long.
NICENESS = 10

# Even so, what holds Python's lock is waited for: a load in one go puts 3 ms on every answer of its
# time, in five steps with rests half a millisecond.
_REST_SECONDS = 0.004


def rest() -> None:
    """Let what queued meanwhile be answered."""
    time.sleep(_REST_SECONDS)


def loading_thread() -> ThreadPoolExecutor:
    """One thread, begun when there is something to load; models are loaded one after the other."""
    return ThreadPoolExecutor(1, "load", initializer=_give_way)


def _give_way() -> None:
    """Be nicer than the process; only Linux knows a niceness of threads."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            nice = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, nice + NICENESS)
