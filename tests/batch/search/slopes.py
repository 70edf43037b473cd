"""A trainer whose model is one number it is given: quick, and easily made to fail."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tidemill import OwnModel
from tidemill.clock import FakeClock


class Slopes:
    """Log-odds are `slope` times x1; `log` remembers every training."""

    def __init__(self, slope: float = 1.0, log: str = "", killed_at: int = 0) -> None:
        self._slope, self._log, self._killed_at = slope, log, killed_at

    def train(self, *rows: Any) -> bytes:
        """The slope's bytes; the training numbered `killed_at` kills its process, once."""
        if self._log:
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(f"{self._slope!r}\n")
            lines = Path(self._log).read_text(encoding="utf-8").splitlines()
            if len(lines) == self._killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return struct.pack("<d", self._slope)

    def load(self, model: bytes) -> Callable[[Any], Any]:
        """The model of these bytes."""
        (slope,) = struct.unpack("<d", model)
        return lambda vectors: slope * vectors[:, 1].astype(np.float64)


def slopes(log: Path | None = None, killed_at: int = 0) -> OwnModel:
    """The trainer as it is declared."""
    settings = (("log", str(log)), ("killed_at", killed_at)) if log else ()
    return OwnModel("slopes", Slopes, settings)


def failing(limit: float, error: Callable[[], BaseException]) -> OwnModel:
    """The same, but a slope above the limit raises."""

    class Failing(Slopes):
        def train(self, *rows: Any) -> bytes:
            if self._slope > limit:
                raise error()
            return super().train(*rows)

    return OwnModel("slopes", Failing)


def slow(clock: FakeClock, seconds: float) -> OwnModel:
    """The same, but each training takes so long by the clock."""

    class Slow(Slopes):
        def train(self, *rows: Any) -> bytes:
            clock.advance(round(seconds * 1000))
            return super().train(*rows)

    return OwnModel("slopes", Slow)
