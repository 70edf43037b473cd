"""What a label may be declared to be, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill import Entity, LabelRate, Project, Request, RequestFeature
from tidemill.durations import DAY_MS
from tidemill.errors import DeclarationError
from tidemill.label import Label
from tidemill.tasks import BINARY, REGRESSION


def test_a_label_says_what_is_learned() -> None:
    """0 or 1 is a binary task, a number a regression."""
    assert [BINARY, REGRESSION] == [Label(wait="1d").task, Label((), "1d", "number").task]


def test_a_label_without_more_is_the_first_within_its_wait() -> None:
    """Joined by the prediction's id, never corrected, never implied, never left out."""
    label = Label(wait="2d")
    assert ((), 2 * DAY_MS, "binary", "first", 0, None, 1.0, False) == (
        label.key, label.wait_ms, label.kind, label.several, label.corrections_ms, label.missing,
        label.keep_negatives, label.fake_negatives,
    )  # fmt: skip


def test_fake_negatives_are_those_that_may_be_corrected() -> None:
    """A missing label that counts as 0, and corrections."""
    assert Label((), "1d", missing=0, corrections="30d").fake_negatives
    assert not Label((), "1d", missing=0).fake_negatives
    assert not Label((), "1d", "number", missing=0, corrections="30d").fake_negatives


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({"key": "card"}, "key", "card"),
        ({"key": (1,)}, "key", (1,)),
        ({"wait": ""}, "wait", ""),
        ({"wait": "soon"}, "wait", "soon"),
        ({"corrections": "0d"}, "corrections", "0d"),
        ({"kind": "class"}, "kind", "class"),
        ({"several": "min"}, "several", "min"),
        ({"several": "sum"}, "several", "sum"),
        ({"several": "mean"}, "several", "mean"),
        ({"missing": 0.5}, "missing", 0.5),
        ({"missing": True}, "missing", True),
        ({"missing": "0"}, "missing", "0"),
        ({"kind": "number", "missing": float("nan")}, "missing", float("nan")),
        ({"missing": 1, "corrections": "1d"}, "missing", 1),
        ({"keep_negatives": 0}, "keep_negatives", 0),
        ({"keep_negatives": 1.1}, "keep_negatives", 1.1),
        ({"kind": "number", "keep_negatives": 0.5}, "keep_negatives", 0.5),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], field: str, found: object) -> None:
    """The error names the field and what was found."""
    with pytest.raises(DeclarationError) as caught:
        Label(**{"wait": "1d"} | changes)
    assert f"Label.{field}: found {found!r}; allowed: " in str(caught.value)


def project(label: Label, rated: bool) -> Project:
    """A project whose one feature is a field, or the rate of the label."""
    request = Request({"card": str, "amount": float})
    rate = LabelRate("bad", (Entity("card", ("card",)),), ("1d",), 0.1)
    return Project(
        "p", (), request, (rate if rated else RequestFeature("x", request.amount),), label
    )


def test_the_labels_task_is_the_projects() -> None:
    """Learners are chosen by it; a label without a key needs no field of the request."""
    assert REGRESSION == project(Label((), "1d", "number"), rated=False).task


def test_rates_want_every_label() -> None:
    """Left out negatives would not be counted by them."""
    few = Label((), "1d", keep_negatives=0.1)
    assert few == project(few, rated=False).label
    with pytest.raises(DeclarationError) as caught:
        project(few, rated=True)
    assert "Label.keep_negatives: found 0.1; allowed: 1 where label rates" in str(caught.value)
