"""What a demo run can be told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cli.demo.timeline import Range
from tidemill.durations import DAY_MS, MINUTE_MS
from tidemill.errors import SettingsError

PROJECT_FILE = Path(__file__).resolve().parents[2] / "examples" / "flights" / "project.py"
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class DemoOptions:
    """Which part of 2013 to replay, and how.

    `days` cuts the range short; `retry` repeats a failed request until it is answered (for runs
    where processes are killed on purpose; else a failed request is counted, never repeated).
    `project` is the project file that worker and api run: the example's, or a copy to be edited.
    `retrain` is the command line of a retrain before its project file, where it is not `tidemill
    retrain`.
    """

    first_month: int = 5
    last_month: int = 6
    days: int | None = None
    step_minutes: int = 60
    port: int = 8088
    json_file: Path | None = None
    serve: bool = False
    retry: bool = False
    project: Path = PROJECT_FILE
    retrain: tuple[str, ...] | None = None
    lanes: int = 48
    throttled_per_second: float = 60.0

    @property
    def span(self) -> Range:
        """The stream time to replay."""
        start = month_start_ms(self.first_month)
        end = month_start_ms(self.last_month + 1)
        if self.days is not None:
            end = min(end, start + self.days * DAY_MS)
        return Range(start, end, self.step_minutes * MINUTE_MS)

    @property
    def retrains_ms(self) -> tuple[int, ...]:
        """When to retrain: at each month's end inside the range; in a short one, in its middle."""
        months = range(self.first_month + 1, self.last_month + 1)
        inside = tuple(m for m in map(month_start_ms, months) if m < self.span.end_ms)
        return inside or ((self.span.start_ms + self.span.end_ms) // 2,)


def month_start_ms(month: int) -> int:
    """The first moment of a month of 2013; 13 is the next January."""
    year, index = divmod(month - 1, 12)
    return (date(2013 + year, index + 1, 1) - _EPOCH).days * DAY_MS


def parse_months(text: str) -> tuple[int, int]:
    """`5-6` or `5` as first and last month, at the earliest May. Raises SettingsError."""
    first, _, last = text.partition("-")
    try:
        months = int(first), int(last or first)
    except ValueError:
        months = (0, 0)
    if not 5 <= months[0] <= months[1] <= 12:
        raise SettingsError(
            f"--months: found {text!r}; allowed: 5-6, 5-12 or another range of 5 to 12"
        )
    return months
