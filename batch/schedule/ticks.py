"""When a cron entry is due: by the wall clock of its time zone, each moment once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from tidemill.errors import DeclarationError

FIELDS = 5
DAY_MS = 86_400_000
_AROUND = timedelta(hours=3)  # no zone has ever been moved by more


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line such as `0 3 1 * *` in a time zone.

    A time that the clocks skip is due when they have skipped it; one that they show twice is due
    the first time, but both times where the line says every hour.
    """

    line: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.line.split()) != FIELDS or not croniter.is_valid(self.line):
            allowed = "five fields: minute hour day month weekday, such as '0 3 1 * *'"
            raise DeclarationError("at", self.line, allowed)
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            allowed = "a name of the time zone database, such as Europe/Berlin"
            raise DeclarationError("timezone", self.zone, allowed) from None

    def newest(self, now_ms: int) -> int | None:
        """The last moment up to now at which it was due (ms); None where it never was."""
        zone = ZoneInfo(self.zone)
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        before, after = ((now + d).astimezone(zone).utcoffset() for d in (-_AROUND, _AROUND))
        # Near a change of clocks the order on the wall is not the order in time.
        margin = timedelta() if before == after else _AROUND
        wall = now.astimezone(zone).replace(tzinfo=None)
        times = croniter(self.line, wall + margin + timedelta(microseconds=1), datetime)
        found: list[int] = []
        try:
            shown: datetime = times.get_prev()
            while not found or shown >= wall - margin:
                found += [m for m in self._moments(shown, zone) if m <= now_ms]
                shown = times.get_prev()
        except ValueError:  # CroniterBadDateError: nothing in the last fifty years
            pass
        return max(found, default=None)

    def _moments(self, shown: datetime, zone: ZoneInfo) -> list[int]:
        folds = (0, 1) if self.line.split()[1].startswith("*") else (0,)
        return [int(shown.replace(tzinfo=zone, fold=fold).timestamp() * 1000) for fold in folds]


def due(cron: Cron, last_ms: int | None, now_ms: int) -> int | None:
    """The tick to run for now, None where there is none; however many were missed, it is one.

    A `last_ms` of None begins now; one more than a day ahead was taken by a wrong clock.
    """
    if last_ms is None or last_ms > now_ms + DAY_MS:
        return None
    newest = cron.newest(now_ms)
    return newest if newest is not None and newest > last_ms else None
