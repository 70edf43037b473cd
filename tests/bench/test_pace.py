"""The pace of a core is taken while something else runs on it."""

from __future__ import annotations

import math
import time

from bench._cores import two_cores
from bench._pace import watched


def test_the_work_is_timed_however_short_the_watch() -> None:
    """On the service's core, by the clock that parts are timed with."""
    began = time.monotonic()
    with watched(two_cores()) as pace:
        pass
    ended = time.monotonic()
    assert 1 < pace.microseconds(began, ended) < 100_000
    assert math.isnan(pace.microseconds(ended, ended + 1))
