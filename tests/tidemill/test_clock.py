"""Clocks tell milliseconds; the fake one moves only when told to."""

from __future__ import annotations

from tidemill.clock import FakeClock, SystemClock


def test_the_fake_clock_stands_still_until_it_is_advanced() -> None:
    """The time changes by what it is advanced."""
    clock = FakeClock(1_000)
    before = (clock.now_ms(), clock.now_ms())
    clock.advance(500)
    assert ((1_000, 1_000), 1_500) == (before, clock.now_ms())


def test_the_system_clock_tells_milliseconds() -> None:
    """The time lies between 2020 and 2100."""
    assert 1_577_836_800_000 < SystemClock().now_ms() < 4_102_444_800_000
