"""Two declarations differ by what each feature says, name by name."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from shops import card, payment, project, request, shop, spent

from features.evolution.differences import Difference, compare, define, text
from features.plan import compile_plan
from tidemill import (
    DerivedFeature,
    LabelRate,
    Project,
    RequestFeature,
    StaticRow,
    Window,
    category,
    column,
)


def difference(before: Project, after: Project) -> Difference:
    """What separates two projects."""
    old, new = (define(compile_plan(each), 1) for each in (before, after))
    return compare(old, new)


def with_features(*features: object) -> Project:
    """The shop with these features and no others."""
    return replace(project, features=features)


COUNT = Window("paid", payment, ("count",), (card,), ("1h",))
RATIO = DerivedFeature("share", column("paid_count_card_1h") / 2)
AMOUNT = RequestFeature("amount", request.amount)


def test_the_same_declaration_differs_in_nothing() -> None:
    """The same file loaded twice."""
    assert difference(project, replace(project)).nothing


def test_every_feature_is_described_by_its_name() -> None:
    """In the vector's order, whatever the kind."""
    rows = (
        StaticRow("profile", card, {"age": 1, "taste": 2}),
        LabelRate("late", (shop,), ("24h",), prior=0.1),
    )
    found = define(compile_plan(replace(project, features=(*project.features, *rows))), 1)
    assert compile_plan(
        replace(project, features=(*project.features, *rows))
    ).schema.names == tuple(found.features)
    assert {
        "kind": "window", "event": "payment", "of": "amount", "aggregate": "mean",
        "by": "card_shop (card, shop)", "over": "24h",
    } == found.features["spent_mean_card_shop_24h"]  # fmt: skip
    assert "label rate" == found.features["late_shop_24h"]["kind"]
    assert "1" == found.features["profile_taste_1"]["at"]


def test_added_and_removed_features_are_named() -> None:
    """Each name that only one of them has."""
    longer = replace(COUNT, over=("2h",))
    found = difference(with_features(AMOUNT, COUNT), with_features(AMOUNT, longer))
    assert (("paid_count_card_2h",), ("paid_count_card_1h",)) == (found.added, found.removed)
    assert ("card",) == found.entities


def test_a_changed_feature_says_what_changed() -> None:
    """The attribute with what it was and what it is."""
    other = replace(COUNT, where=payment.amount > 5)
    (change,) = difference(with_features(COUNT), with_features(other)).changed
    assert ("paid_count_card_1h", {"where": ("nothing", "(amount > 5)")}) == (
        change.name, change.attributes,
    )  # fmt: skip


def test_what_is_derived_from_a_changed_feature_changes_with_it() -> None:
    """Its own text is the same, its numbers are not."""
    other = replace(COUNT, where=payment.amount > 5)
    found = difference(with_features(COUNT, RATIO), with_features(other, RATIO))
    assert ["paid_count_card_1h", "share"] == [change.name for change in found.changed]
    assert ["its input paid_count_card_1h"] == list(found.changed[1].attributes)


def test_request_features_change_no_entity() -> None:
    """Only the vector is another: the state stays."""
    found = difference(with_features(AMOUNT, COUNT), with_features(COUNT))
    assert (("amount",), ()) == (found.removed, found.entities)


def test_another_order_is_a_difference() -> None:
    """The vector means something else though no feature does."""
    found = difference(with_features(AMOUNT, COUNT), with_features(COUNT, AMOUNT))
    assert (True, False, ()) == (found.order, found.nothing, found.changed)


def test_an_aggregate_more_changes_the_entitys_state() -> None:
    """The tile holds something it did not hold."""
    more = replace(spent, aggregate=(*spent.aggregate, "std"))
    found = difference(with_features(spent), with_features(more))
    assert {"card", "card_shop"} == set(found.entities)
    assert {"std"} == {name.split("_")[1] for name in found.added}


def test_a_definition_is_kept_as_json() -> None:
    """It comes back equal."""
    definition = define(compile_plan(project), 7)
    encoded = msgspec.json.encode(definition)
    assert definition == msgspec.json.decode(encoded, type=type(definition))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (payment.amount * 2 > 5, "((amount * 2) > 5)"),
        (category(request.shop), "category(shop)"),
        (~(column("a").equals("x")), "not((a == 'x'))"),
    ],
)
def test_an_expression_reads_as_it_was_written(expression, expected) -> None:
    """Columns by name, constants as Python writes them."""
    assert expected == text(expression)
