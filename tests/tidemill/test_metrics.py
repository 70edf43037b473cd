"""The names of metrics follow Prometheus."""

from __future__ import annotations

import re

import pytest

from tidemill import metrics
from tidemill.metrics import NAMES, Metric


def test_names_are_unique() -> None:
    """No name is taken twice."""
    assert len(metrics._ALL) == len(NAMES)


@pytest.mark.parametrize("metric", NAMES.values(), ids=NAMES)
def test_a_name_follows_prometheus(metric: Metric) -> None:
    """Names carry the prefix, counters end in _total, histograms in a base unit or rows."""
    assert re.fullmatch(r"tidemill(_[a-z0-9]+)+", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_bytes", "_rows"))
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)(_|$)", metric.name)


@pytest.mark.parametrize("metric", NAMES.values(), ids=NAMES)
def test_no_label_is_an_id(metric: Metric) -> None:
    """Labels have few values: no keys and no ids."""
    assert set() == set(metric.labels) & {"id", "key", "prediction", "entity", "le", "offset"}


@pytest.mark.parametrize("metric", NAMES.values(), ids=NAMES)
def test_every_metric_has_a_meaning(metric: Metric) -> None:
    """The help text says something."""
    assert metric.help.strip()
