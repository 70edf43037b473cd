"""What a demo run can be told."""

import pytest

from cli.demo.options import DemoOptions, month_start_ms, parse_months
from tidemill.durations import DAY_MS
from tidemill.errors import SettingsError


def test_months_are_whole():
    """The default range is May and June of 2013."""
    span = DemoOptions().span
    assert (span.start_ms, (span.end_ms - span.start_ms) // DAY_MS) == (month_start_ms(5), 61)


def test_december_ends_the_year():
    """Month 13 is the next January."""
    assert month_start_ms(13) - month_start_ms(12) == 31 * DAY_MS


def test_retrains_come_at_each_months_end_inside_the_range():
    """For May to December: seven of them."""
    options = DemoOptions(first_month=5, last_month=12)
    assert options.retrains_ms == tuple(month_start_ms(month) for month in range(6, 13))


def test_short_range_retrains_in_its_middle():
    """A range without a month's end retrains once."""
    options = DemoOptions(days=4)
    assert options.retrains_ms == (month_start_ms(5) + 2 * DAY_MS,)


def test_days_cut_the_range():
    """A range never grows by it."""
    assert DemoOptions(last_month=5, days=400).span.end_ms == month_start_ms(6)


def test_months_are_parsed():
    """One month or a range."""
    assert (parse_months("5-12"), parse_months("7")) == ((5, 12), (7, 7))


@pytest.mark.parametrize("text", ["4-6", "6-5", "13", "may", ""])
def test_other_months_are_refused(text):
    """The first four months train the first release."""
    with pytest.raises(SettingsError, match="--months: found"):
        parse_months(text)
