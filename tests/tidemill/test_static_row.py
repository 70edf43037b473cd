"""Static rows as declared: names, sizes, what is refused, and their place among the features."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill import DerivedFeature, Entity, Event, Label, Project, Request, StaticRow, column
from tidemill.errors import DeclarationError
from tidemill.schema import schema_of

USER = Entity("user", ("user",))
PROFILE = StaticRow("profile", USER, {"age": 1, "embedding": 3})


def project(*features: Any, **more: Any) -> Project:
    """A project with these features and no windows."""
    request = Request({"user": str, "device": str, "amount": float})
    return Project("shop", more.get("events", ()), request, features, Label(("user",), "1h"))


def test_names_follow_the_columns() -> None:
    """A number is one feature, a list as many as it has places."""
    expected = ["profile_age", *(f"profile_embedding_{i}" for i in range(3))]
    assert (expected, 4) == (PROFILE.names, PROFILE.floats)


def test_a_tuple_declares_numbers() -> None:
    """Names alone are columns of size one, and mean the same as a mapping that says so."""
    assert StaticRow("profile", USER, {"age": 1, "limit": 1}) == StaticRow(
        "profile", USER, ("age", "limit")
    )


def test_thousands_of_floats_are_fine() -> None:
    """A long embedding is declared by its size, and the project knows all of its features."""
    made = project(StaticRow("profile", USER, {"embedding": 100_000}))
    assert (100_000, 100_000) == (len(made.feature_names), len(set(made.feature_names)))


WRONG: dict[str, Any] = {
    "a name": lambda: StaticRow("Profile", USER, ("age",)),
    "no entity": lambda: StaticRow("profile", (USER,), ("age",)),  # type: ignore[arg-type]
    "no columns": lambda: StaticRow("profile", USER, ()),
    "one text": lambda: StaticRow("profile", USER, "age"),  # type: ignore[arg-type]
    "a column's name": lambda: StaticRow("profile", USER, ("Age",)),
    "a column twice": lambda: StaticRow("profile", USER, ("age", "age")),
    "a key": lambda: StaticRow("profile", USER, ("user",)),
    "size zero": lambda: StaticRow("profile", USER, {"embedding": 0}),
    "half a size": lambda: StaticRow("profile", USER, {"embedding": 1.5}),  # type: ignore[dict-item]
    "too long": lambda: StaticRow("profile", USER, {"embedding": 100_001}),
    "too long together": lambda: StaticRow("profile", USER, {"a": 60_000, "b": 60_000}),
    "one name for two rows": lambda: project(PROFILE, StaticRow("profile", USER, ("limit",))),
    "two columns of one name": lambda: project(StaticRow("a", USER, {"b": 2, "b_0": 1})),
    "a key that no request has": lambda: project(StaticRow("a", Entity("x", ("x",)), ("b",))),
    "two entities of one name": lambda: project(
        PROFILE, StaticRow("device", Entity("user", ("device",)), ("b",))
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_refused(mistake: str) -> None:
    """Each names the declaration, what was found and what is allowed."""
    with pytest.raises(DeclarationError, match="found .*; allowed: "):
        WRONG[mistake]()


def test_of_thousands_of_names_the_nearest_are_shown() -> None:
    """A misspelt feature of a long embedding is still one readable line."""
    row = StaticRow("profile", USER, {"embedding": 5_000})
    with pytest.raises(DeclarationError, match="one of 5000 names, such as profile_emb") as caught:
        project(row, DerivedFeature("double", column("profile_embeding_12") * 2))
    assert len(str(caught.value)) < 300


def test_entities_without_windows_keep_no_state() -> None:
    """An entity that only static rows are about is none that events change."""
    made = project(PROFILE, events=(Event("paid", "user", {"user": str}),))
    assert ((), (PROFILE,)) == (made.entities, made.static_rows)


def test_derived_features_read_static_ones() -> None:
    """A static feature is a column like any other."""
    made = project(PROFILE, DerivedFeature("double", column("profile_age") * 2))
    assert "double" == made.feature_names[-1]


def test_schema_and_layout_change_with_the_columns() -> None:
    """Another size is another vector and another table; the same declaration is neither."""
    longer = StaticRow("profile", USER, {"age": 1, "embedding": 4})
    again = StaticRow("profile", USER, {"age": 1, "embedding": 3})
    hashes = [schema_of(project(row)).hash for row in (PROFILE, again, longer)]
    assert (True, False) == (hashes[0] == hashes[1], hashes[0] == hashes[2])
    layouts = [row.layout for row in (PROFILE, again, longer)]
    assert (True, False) == (layouts[0] == layouts[1], layouts[0] == layouts[2])
