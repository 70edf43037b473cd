"""The heap of a process whose models come and go between what requests take and free."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h
_C = ctypes.CDLL(None)


def share_one() -> None:
    """Let all threads use one heap: what a swap frees in it is what the next one takes.

    glibc would keep one for each thread that ever loaded a model. Other C libraries have no such
    setting.
    """
    with suppress(AttributeError):
        _C.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give the system the pages that nothing lies in any more.

    A model leaves holes of its size between what requests took meanwhile, and glibc keeps them: a
    few megabytes more after some hundred swaps. It takes 0.3 ms, in which nobody else may allocate.
    """
    with suppress(AttributeError):
        _C.malloc_trim(0)
