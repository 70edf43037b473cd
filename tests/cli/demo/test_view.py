"""What the user sees."""

import io

from rich.console import Console

from cli.demo.options import month_start_ms
from cli.demo.progress import Progress
from cli.demo.view import View, moment


def test_lines_where_there_is_no_terminal():
    """Phases and, now and then, one line of numbers."""
    out, progress = io.StringIO(), Progress(event_time_ms=month_start_ms(5), flights_total=1000)
    view = View(progress, Console(file=out))
    with view.phase("replay"), view.live():
        progress.scored = 10
        view.refresh()
        view.refresh()
    lines = out.getvalue().splitlines()
    assert lines[0] == "» replay"
    assert lines[1].startswith("  event time 01 May 00:00  scored 10 of 1,000  failed 0")
    assert len(lines) == 3
    assert [phase.name for phase in progress.phases] == ["replay"]


def test_table_on_a_terminal():
    """The same numbers, and the quality that the service reports."""
    out, progress = io.StringIO(), Progress()
    auc = {"service": 0.8123, "release": 0.8}
    progress.status = {
        "model": {"release": "r0002", "snapshot": 5},
        "worker": {"series": [{"auc": auc}]},
    }
    view = View(progress, Console(file=out, force_terminal=True, width=100))
    with view.live():
        view.refresh()
    assert "r0002 snapshot 5" in out.getvalue()
    assert "service 0.812, frozen release 0.800" in out.getvalue()


def test_moments_are_stream_time():
    """Day, month and the wall clock of New York."""
    assert moment(month_start_ms(6) + 90 * 60_000) == "01 Jun 01:30"
