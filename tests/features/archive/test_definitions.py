"""What old vectors mean stays known, and what they share with a new declaration is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from shops import payment, project, spent

from features.archive.definitions import read_definitions, unchanged, write_definition
from features.evolution.differences import define
from features.plan import compile_plan
from tidemill import DerivedFeature, Event, Project, RequestFeature, Window, column

PLAN = compile_plan(project)


def declared(*features: object, events: tuple = project.events) -> Project:
    """The shop's project with other features."""
    return replace(project, features=features, events=events)


def shared(old: Project, new: Project) -> list[str]:
    """The features that mean the same in both."""
    return unchanged(define(compile_plan(old), 0), define(compile_plan(new), 0))


def test_a_definition_comes_back_equal(tmp_path: Path) -> None:
    """It lies under its schema's hash, and the first writer's stays."""
    write_definition(tmp_path, PLAN, 5)
    write_definition(tmp_path, PLAN, 7)
    assert {PLAN.schema.hash: define(PLAN, 5)} == read_definitions(tmp_path, "shop")
    assert {} == read_definitions(tmp_path, "other")
    folder = tmp_path / "archive" / "project=shop" / "schemas"
    assert [f"{PLAN.schema.hash}.json"] == [path.name for path in folder.iterdir()]


def test_the_same_declaration_shares_everything() -> None:
    """Whatever the order."""
    assert list(PLAN.schema.names) == shared(project, project)
    other = declared(*project.features[1:4], project.features[0], *project.features[4:])
    assert other.feature_names != project.feature_names
    assert set(other.feature_names) == set(shared(project, other))


def test_another_window_shares_what_both_have() -> None:
    """A name counts, with everything that was declared for it."""
    longer = replace(spent, over=("1h", "2h"))
    filtered = replace(spent, where=payment.amount > 1)
    assert longer.names != shared(declared(spent), declared(longer))
    assert [n for n in longer.names if n.endswith("_1h")] == shared(
        declared(spent), declared(longer)
    )
    assert [] == shared(declared(spent), declared(filtered))


def test_what_is_derived_changes_with_its_source() -> None:
    """Directly or through another."""
    twice = DerivedFeature("twice", column("amount") * 2)
    more = DerivedFeature("more", column("twice") + 1)
    old = RequestFeature("amount", project.request.amount)
    new = RequestFeature("amount", project.request.amount + 1)
    assert ["amount", "twice", "more"] == shared(
        declared(old, twice, more), declared(old, twice, more)
    )
    assert [] == shared(declared(old, twice, more), declared(new, twice, more))


@pytest.mark.parametrize(("kind", "same"), [(float | None, True), (int | None, False)])
def test_a_field_of_another_type_changes_its_events_windows(kind: object, same: bool) -> None:
    """The same bytes are then other numbers."""
    fields = {"card": str, "shop": str | None, "amount": kind, "online": bool | None}
    other = Event("payment", key="card", fields=fields)
    window = Window("spent", other, ("sum",), spent.by, ("1h",), other.amount)
    old = declared(replace(spent, aggregate=("sum",), over=("1h",)))
    new = declared(window, events=(other, project.events[1]))
    assert (window.names if same else []) == shared(old, new)
