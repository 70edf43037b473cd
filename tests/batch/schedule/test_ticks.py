"""Cron lines are due once, whatever the clock does."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from batch.schedule.ticks import DAY_MS, Cron, due
from tidemill.errors import DeclarationError

MINUTE = 60_000


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """Milliseconds of a time on the wall."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp() * 1000)


def walked(cron: Cron, first: int, last: int, step_ms: int = 5 * MINUTE) -> list[str]:
    """When it was due, as a scheduler that looks every `step_ms` finds it."""
    found, seen, now = [], first, first
    while now <= last:
        if (tick := due(cron, seen, now)) is not None:
            found.append(tick)
            seen = tick
        now += step_ms
    zone = ZoneInfo(cron.zone)
    return [datetime.fromtimestamp(t / 1000, zone).isoformat()[:22] for t in found]


def test_a_tick_is_due_from_its_moment_on() -> None:
    """Not before, and not again once it was noted."""
    cron, tick = Cron("0 3 1 * *"), at("2026-05-01 03:00")
    assert None is due(cron, tick - DAY_MS, tick - 1)
    assert tick == due(cron, tick - DAY_MS, tick)
    assert None is due(cron, tick, tick)


def test_missed_ticks_are_one() -> None:
    """A machine that was off for a week retrains once."""
    cron = Cron("0 3 * * *")
    assert at("2026-05-08 03:00") == due(cron, at("2026-05-01 03:00"), at("2026-05-08 12:00"))


def test_a_new_entry_begins_now() -> None:
    """What was due before it was written is not."""
    assert None is due(Cron("* * * * *"), None, at("2026-05-08 12:00"))


def test_a_clock_that_goes_back_repeats_nothing() -> None:
    """Until it has caught up; one that was ahead by days begins anew."""
    cron, noted = Cron("* * * * *"), at("2026-05-08 12:00")
    assert None is due(cron, noted, noted - 30 * MINUTE)
    assert None is due(cron, noted + 2 * DAY_MS, noted)


def test_a_skipped_hour_is_due_when_it_is_over() -> None:
    """Berlin has no 02:30 on 29 March 2026."""
    cron = Cron("30 2 * * *", "Europe/Berlin")
    first, last = at("2026-03-28 12:00"), at("2026-03-30 12:00")
    assert ["2026-03-29T03:30:00+02", "2026-03-30T02:30:00+02"] == walked(cron, first, last)


def test_a_repeated_hour_is_due_once() -> None:
    """Berlin has 02:30 twice on 25 October 2026."""
    cron = Cron("30 2 * * *", "Europe/Berlin")
    first, last = at("2026-10-24 12:00"), at("2026-10-26 12:00")
    assert ["2026-10-25T02:30:00+02", "2026-10-26T02:30:00+01"] == walked(cron, first, last)


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-07-01"])
def test_every_half_hour_is_every_half_hour(day: str) -> None:
    """Also while the clocks change."""
    cron = Cron("*/30 * * * *", "Europe/Berlin")
    first = at(f"{day} 00:00")
    found = walked(cron, first, first + 5 * 60 * MINUTE)
    instants = [datetime.fromisoformat(each + ":00") for each in found]
    assert 10 == len(found)
    assert {timedelta(minutes=30)} == {b - a for a, b in zip(instants, instants[1:], strict=False)}


@pytest.mark.parametrize(
    ("line", "zone", "name"),
    [
        ("0 3 1 *", "UTC", "at"),
        ("61 * * * *", "UTC", "at"),
        ("* * * * * *", "UTC", "at"),
        ("@monthly", "UTC", "at"),
        ("0 3 * * *", "Mars/Olympus", "timezone"),
        ("0 3 * * *", "../etc", "timezone"),
    ],
)
def test_a_line_that_cannot_be_is_refused(line: str, zone: str, name: str) -> None:
    """With what is allowed."""
    with pytest.raises(DeclarationError, match=f"{name}: found .*; allowed: .*such as"):
        Cron(line, zone)


def test_a_day_that_never_comes_is_never_due() -> None:
    """30 February."""
    assert None is due(Cron("0 0 30 2 *"), 0, at("2026-05-01 03:00"))
