"""Where the tests of the services find a Kafka distribution, and how they look for leftovers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_DEADLINE_SECONDS = 5.0


@pytest.fixture
def kafka_home() -> Path:
    """The unpacked Apache Kafka that KAFKA_HOME names; the test is skipped without one."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        pytest.skip("KAFKA_HOME is not set")
    return Path(home)


@pytest.fixture
def left_over() -> Callable[[list[int]], list[int]]:
    """Those of the given processes that still run after five seconds."""

    def wait(pids: list[int]) -> list[int]:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
            time.sleep(0.01)
        return left

    return wait


def _runs(pid: int) -> bool:
    # A zombie has ended; only whoever adopted it has not read its exit code yet.
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
