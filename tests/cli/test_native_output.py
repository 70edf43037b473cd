"""What libraries in C write to standard output does not end up in a command's answer."""

from __future__ import annotations

import ctypes

import pytest

from cli.native_output import native_output_on_stderr

LIBC = ctypes.CDLL(None)


def test_what_c_prints_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """Inside the block only, though C keeps it for a while where nobody looks."""
    LIBC.puts(b"before")
    with native_output_on_stderr():
        LIBC.puts(b"inside")
    print("after", flush=True)
    LIBC.fflush(None)
    assert ("before\nafter\n", "inside\n") == tuple(capfd.readouterr())
