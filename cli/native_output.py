"""Keeps what libraries in C print away from standard output, which holds a command's answer."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STDOUT, _STDERR = 1, 2


@contextmanager
def native_output_on_stderr() -> Iterator[None]:
    """Inside, standard output is standard error: for C, child processes and print.

    LightGBM warns from threads that no logger of it and no verbosity reaches.
    """
    try:
        before = os.dup(_STDOUT)
    except OSError:  # it is closed: nobody reads it
        yield
        return
    try:
        _flush()
        os.dup2(_STDERR, _STDOUT)
        yield
    finally:
        _flush()
        os.dup2(before, _STDOUT)
        os.close(before)


def _flush() -> None:
    """C and Python each keep what is printed for a while."""
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)
