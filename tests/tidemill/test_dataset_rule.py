"""A rule for datasets is checked when it is declared, and kept as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import tidemill as tm
from tidemill.dataset_rule import DatasetRule
from tidemill.errors import DeclarationError

RULES = (
    DatasetRule(),
    DatasetRule(last="90d", matured=True, seed=3),
    DatasetRule(from_ms=5, to_ms=9, gap="1d", parent="d0123456789ab", bad_cases=2.5),
    DatasetRule(where=tm.column("amount") > 5, match=tm.Match(("card", "shop"), 2.0)),
    DatasetRule(shares=(tm.Share(0, 0.1), tm.Share(1, 2.5))),
)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_read_back_from_json(rule: DatasetRule) -> None:
    """What a manifest keeps gives the same rule; the default is empty."""
    data = json.loads(json.dumps(rule.as_data()))
    assert rule == DatasetRule.from_data(data)
    assert {} == DatasetRule().as_data()


def test_a_text_is_an_expression() -> None:
    """The filter may be written as text."""
    assert DatasetRule(where="amount > 5") == DatasetRule(where=tm.column("amount") > 5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DatasetRule(last="soon"), "DatasetRule.last: found 'soon'"),
        (lambda: DatasetRule(last="1d", from_ms=1), "allowed: this or from_ms, not both"),
        (lambda: DatasetRule(from_ms=5, to_ms=5), "DatasetRule.from_ms: found 5"),
        (lambda: DatasetRule(where="a.b"), "DatasetRule.where: found 'a.b'"),
        (lambda: DatasetRule(where=5), "DatasetRule.where: found 5"),
        (lambda: DatasetRule(bad_cases=0), "DatasetRule.bad_cases: found 0"),
        (lambda: DatasetRule(parent="../x"), "DatasetRule.parent: found '../x'"),
        (lambda: DatasetRule(seed=-1), "DatasetRule.seed: found -1"),
        (lambda: DatasetRule(shares=[tm.Share(0, 1)]), "allowed: a tuple of Share"),
        (lambda: DatasetRule(shares=(tm.Share(0, 1), tm.Share(0, 2))), "allowed: each label once"),
        (lambda: DatasetRule(match="card"), "allowed: a Match, or None"),
        (lambda: tm.Match(()), "Match.by: found ()"),
        (lambda: tm.Match(("a",), -1), "Match.negatives: found -1"),
        (lambda: tm.Share(0, 0), "Share.share: found 0"),
        (lambda: DatasetRule.from_data({"of": 1}), "allowed: what a manifest keeps of a rule"),
    ],
)
def test_a_mistake_is_named(make: Callable[[], object], said: str) -> None:
    """Field, found and allowed."""
    with pytest.raises(DeclarationError) as caught:
        make()
    assert said in str(caught.value)


def project(rule: DatasetRule, **parts: object) -> tm.Project:
    """A small project with a rule."""
    seen = tm.Event("seen", key="card", fields={"card": str})
    request = tm.Request({"card": str, "amount": float})
    features = (tm.RequestFeature("amount", request.amount),)
    label = parts.pop("label", tm.Label(key=("card",), wait="1d"))
    return tm.Project("shop", (seen,), request, features, label, dataset=rule, **parts)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (DatasetRule(where="other > 1"), "DatasetRule.where: found 'other'"),
        (DatasetRule(where="card + 1"), "allowed: numbers; for a string"),
        (DatasetRule(match=tm.Match(("country",))), "Match.by: found 'country'"),
        (DatasetRule(match=tm.Match(("label",))), "Match.by: found 'label'"),
        (DatasetRule(shares=(tm.Share(2, 0.5),)), "Share.label: found 2; allowed: 0 or 1"),
        (DatasetRule(bad_cases=2), "allowed: 1 without Project.bad_cases"),
        ("all", "Project.dataset: found 'all'; allowed: a DatasetRule"),
    ],
)
def test_a_rule_that_the_project_cannot_follow(rule: DatasetRule, said: str) -> None:
    """What the project does not have is refused when the project is declared."""
    with pytest.raises(DeclarationError) as caught:
        project(rule)
    assert said in str(caught.value)


def test_numbers_have_no_classes() -> None:
    """Matching and shares are for binary labels."""
    label = tm.Label(key=("card",), wait="1d", kind="number")
    with pytest.raises(DeclarationError, match="neither match nor shares for numeric labels"):
        project(DatasetRule(shares=(tm.Share(0, 0.5),)), label=label)


def test_a_rule_reads_request_fields_features_label_score_and_time() -> None:
    """What it may read, it may."""
    rule = DatasetRule(
        where="amount > 1 and card == 'c1' and label == 1 and score < 1 and time > 0"
    )
    assert rule == project(rule).dataset
