"""Board, alert rules and runbook agree with each other, and every expression is PromQL."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tidemill.metrics import NAMES

ROOT = Path(__file__).resolve().parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
BOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/boards/tidemill.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
DRAWN = {f"{p['title']} {t['refId']}": t["expr"] for p in PANELS for t in p["targets"]}
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in RULES} | DRAWN
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
SERIES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def selectors(expression: str) -> list[Any]:
    """The metrics that an expression reads; fails for what Prometheus would not take."""
    return list(_selected(promql_parser.parse(expression)))


def _selected(node: Any) -> Any:
    """Go down through whatever a node is made of."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("lhs", "rhs", "expr", "args", "param", "vector_selector"):
        below = getattr(node, name, None)
        for each in below if isinstance(below, list) else [below]:
            if each is not None and not isinstance(each, (str, int, float)):
                yield from _selected(each)


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_is_promql_about_our_metrics(expression: str) -> None:
    """It parses with the right types, reads series that exist, by labels that they have."""
    found = selectors(expression)
    assert found
    for each in found:
        if each.name == "up":
            continue
        metric = next(m for m in NAMES.values() if each.name.startswith(m.name)
                      and each.name.removeprefix(m.name) in SERIES[m.kind])  # fmt: skip
        asked = {matcher.name for matcher in each.matchers.matchers}
        assert set() == asked - {*metric.labels, "job", "instance"}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_a_counter_is_only_read_as_a_rate(expression: str) -> None:
    """Its absolute value says how long the process has run."""
    counted = re.findall(r"(\w+\()?(tidemill_\w+(?:_total|_bucket))(\{[^}]*\})?(\[)?", expression)
    assert all(call in ("rate(", "increase(") and window for call, _, _, window in counted)


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    """Whoever is woken finds what to do under the alert's name."""
    sections = re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(rule["alert"] for rule in RULES) == sorted(sections)
    assert len(sections) == len(set(sections))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """A severity that somebody answers to, a summary, and the section of the runbook."""
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert f"docs/runbook.md#{rule['alert'].lower()}" == rule["annotations"]["runbook"]


@pytest.mark.parametrize("section", re.split(r"^### ", RUNBOOK, flags=re.MULTILINE)[1:])
def test_a_section_says_what_to_do(section: str) -> None:
    """Not only what it means."""
    assert "*Do*" in section or "*do*" in section


def test_what_the_runbook_names_exists() -> None:
    """Metrics and settings; commands are those that operations.md documents."""
    operations = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"\btidemill_[a-z_]+", RUNBOOK))
    assert set() == named - NAMES.keys()
    for name in set(re.findall(r"`(TIDEMILL_[A-Z_]+)`", RUNBOOK)):
        assert f"`{name}`" in operations
    for command in set(re.findall(r"`tidemill ([a-z]+(?: [a-z]+)?)", RUNBOOK)):
        assert f"tidemill {command}" in operations


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    """Each has its place on the board's 24 columns."""
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    taken = [(x, y) for at in places for x in range(at["x"], at["x"] + at["w"])
             for y in range(at["y"], at["y"] + at["h"])]  # fmt: skip
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert (len(taken), len(numbers)) == (len(set(taken)), len(set(numbers)))
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_of_seconds_shows_seconds(panel: dict[str, Any]) -> None:
    """Quantiles of times are in seconds, of bytes in bytes."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        expression = target["expr"]
        if re.search(r"_seconds_bucket|_timestamp_seconds|start_time_seconds", expression):
            assert "s" == unit
        if "_bytes" in expression:
            assert "bytes" == unit


def test_events_of_the_log_that_the_runbook_names_exist() -> None:
    """Whoever searches the log for them at night finds them."""
    source = "\n".join(
        file.read_text(encoding="utf-8")
        for folder in ("api", "cli", "streams")
        for file in (ROOT / folder).rglob("*.py")
    )
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOK))
    words -= {word for word in words if word.startswith("tidemill_")}
    assert len(words) > 5
    assert set() == {word for word in words if f'"{word}"' not in source}
