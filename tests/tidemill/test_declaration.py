"""The declaration refuses each mistake and says what was found and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill import (
    BadCase,
    DerivedFeature,
    Entity,
    Event,
    Gate,
    Label,
    LabelRate,
    LightGBM,
    Linear,
    LinearModel,
    Mixture,
    Project,
    Request,
    RequestFeature,
    Search,
    TreeHead,
    Window,
    category,
    column,
)
from tidemill.aggregates import ALLOWED
from tidemill.errors import DeclarationError

FIELDS = {"card": str, "amount": float, "note": str | None}
payment = Event("payment", key="card", fields=FIELDS)
card = Entity("card", ("card",))
request = Request({"card": str, "amount": float, "shop": str | None})


def window(**changes: Any) -> Window:
    """A good window with some changes."""
    good = {
        "name": "spent",
        "event": payment,
        "aggregate": ("sum", "count"),
        "by": (card,),
        "over": ("1h", "24h"),
        "of": payment.amount,
    }
    return Window(**(good | changes))


def project(**changes: Any) -> Project:
    """A good project with some changes."""
    good = {
        "name": "shop",
        "events": (payment,),
        "request": request,
        "features": (window(), RequestFeature("amount", request.amount)),
        "label": Label(("card",), "1h"),
    }
    return Project(**(good | changes))


def derived(name: str, reads: str) -> DerivedFeature:
    """A derived feature that reads one column."""
    return DerivedFeature(name, column(reads) + 1)


NAME = "lower-case letters, digits and _, a letter first"
TYPES = "str, float, int or bool, or one of them with | None"
NUMBERS = "numbers; for a string: .equals(...), present(...), category(...) or fingerprint(...)"
DURATION = "a positive duration such as 500ms, 30s, 5min, 6h or 14d"
MISTAKES: dict[str, tuple[Callable[[], object], str, object, str]] = {
    "event name": (lambda: Event("Pay", "card", FIELDS), "Event.name", "Pay", NAME),
    "event name is a number": (lambda: Event(1, "card", FIELDS), "Event.name", 1, NAME),
    "event without fields": (
        lambda: Event("pay", "card", {}),
        "Event pay.fields",
        {},
        "a mapping from field name to type",
    ),
    "field name": (lambda: Request({"Card": str}), "Request.fields", "Card", NAME),
    "reserved field": (
        lambda: Request({"time": int}),
        "Request.fields",
        "time",
        "any name but event, id and time",
    ),
    "field type": (lambda: Request({"x": list}), "Request.fields['x']", list, TYPES),
    "field type is a value": (lambda: Request({"x": []}), "Request.fields['x']", [], TYPES),
    "field type is text": (lambda: Request({"x": "str"}), "Request.fields['x']", "str", TYPES),
    "event key": (
        lambda: Event("pay", "user", FIELDS),
        "Event pay.key",
        "user",
        "one of card, amount, note",
    ),
    "unknown column": (
        lambda: payment.amonut,
        "payment.amonut",
        "amonut",
        "one of card, amount, note, time",
    ),
    "entity keys": (
        lambda: Entity("card", "card"),
        "Entity card.keys",
        "card",
        "a tuple of field names",
    ),
    "entity key twice": (
        lambda: Entity("card", ("card", "card")),
        "Entity card.keys",
        "card",
        "each name once",
    ),
    "entity key kind": (lambda: Entity("card", (3,)), "Entity card.keys", 3, "a field name"),
    "window event": (lambda: window(event="pay"), "Window spent.event", "pay", "an Event"),
    "window aggregate is text": (
        lambda: window(aggregate="sum"),
        "Window spent.aggregate",
        "sum",
        "a tuple that is not empty",
    ),
    "window aggregate": (
        lambda: window(aggregate=("median",)),
        "Window spent.aggregate",
        "median",
        ALLOWED,
    ),
    "window by": (lambda: window(by=("card",)), "Window spent.by", "card", "an Entity"),
    "window without of": (
        lambda: window(of=None),
        "Window spent.of",
        None,
        "an expression (sum needs one)",
    ),
    "window over": (lambda: window(over=("1 hour",)), "Window spent.over", "1 hour", DURATION),
    "window too short": (
        lambda: window(over=("30s",)),
        "Window spent.over",
        "30s",
        'a duration from 1min to 90d, or "lifetime"',
    ),
    "window too long": (
        lambda: window(over=("91d",)),
        "Window spent.over",
        "91d",
        'a duration from 1min to 90d, or "lifetime"',
    ),
    "window number too large": (
        lambda: window(aggregate=("last_101",)),
        "Window spent.aggregate",
        "last_101",
        ALLOWED,
    ),
    "window percentile": (
        lambda: window(aggregate=("p100",)),
        "Window spent.aggregate",
        "p100",
        ALLOWED,
    ),
    "window ratio without per": (
        lambda: window(aggregate=("ratio",)),
        "Window spent.per",
        None,
        "an expression (ratio needs one)",
    ),
    "window per without ratio": (
        lambda: window(per=payment.amount),
        "Window spent.per",
        payment.amount,
        "nothing (only ratio takes it)",
    ),
    "window decayed for ever": (
        lambda: window(aggregate=("decayed_sum",), over=("1h", "lifetime")),
        "Window spent.over",
        "lifetime",
        "half-lives (decayed_sum is never forgotten at once)",
    ),
    "rate by": (
        lambda: LabelRate("bad", (), ("1d",), 0.1),
        "LabelRate bad.by",
        (),
        "a tuple that is not empty",
    ),
    "rate over": (
        lambda: LabelRate("bad", (card,), ("1y",), 0.1),
        "LabelRate bad.over",
        "1y",
        DURATION,
    ),
    "rate prior": (
        lambda: LabelRate("bad", (card,), ("1d",), 1.5),
        "LabelRate bad.prior",
        1.5,
        "a number from 0 to 1",
    ),
    "rate of a key the request has not": (
        lambda: project(features=(LabelRate("bad", (Entity("box", ("box",)),), ("1d",), 0.1),)),
        "Entity box.keys",
        "box",
        "one of card, amount, shop, time",
    ),
    "entity expires": (
        lambda: Entity("card", ("card",), "soon"),
        "Entity card.expires",
        "soon",
        DURATION,
    ),
    "event called label": (
        lambda: project(events=(payment, Event("label", "card", FIELDS))),
        "Project.events",
        "label",
        "any name but label",
    ),
    "window of": (lambda: window(of=3), "Window spent.of", 3, "an expression"),
    "window of another record": (
        lambda: window(of=request.shop),
        "Window spent.of",
        "shop",
        "one of card, amount, note, time",
    ),
    "window of a string": (
        lambda: window(of=payment.card),
        "Window spent.of",
        payment.card,
        NUMBERS,
    ),
    "window where compares a missing string": (
        lambda: window(where=payment.note > "a"),
        "Window spent.where",
        payment.note > "a",
        NUMBERS,
    ),
    "window where is a string": (
        lambda: window(where=payment.card & (payment.amount > 1)),
        "Window spent.where",
        payment.card & (payment.amount > 1),
        NUMBERS,
    ),
    "window where is Python's ==": (
        lambda: window(where=payment.amount == 3),
        "Window spent.where",
        False,
        "an expression",
    ),
    "window entity without its key": (
        lambda: window(by=(Entity("shop", ("shop",)),)),
        "Window spent.by shop",
        "shop",
        "one of card, amount, note, time",
    ),
    "request feature": (
        lambda: RequestFeature("x", 1),
        "RequestFeature x.value",
        1,
        "an expression",
    ),
    "derived feature": (
        lambda: DerivedFeature("x", "amount"),
        "DerivedFeature x.value",
        "amount",
        "an expression",
    ),
    "label key": (
        lambda: Label("card", "1h"),
        "Label.key",
        "card",
        "a tuple of request fields",
    ),
    "label wait": (lambda: Label(("card",), "soon"), "Label.wait", "soon", DURATION),
    "learning rate": (
        lambda: TreeHead(learning_rate=2),
        "TreeHead head.learning_rate",
        2,
        "a number from 0 to 1",
    ),
    "leaves": (lambda: LightGBM(leaves=1), "LightGBM.leaves", 1, "a number from 2 to 4096"),
    "rounds": (
        lambda: LightGBM(rounds=1.5),
        "LightGBM.rounds",
        1.5,
        "a whole number from 1 to 10000",
    ),
    "gate holdout": (lambda: Gate(holdout="0d"), "Gate.holdout", "0d", DURATION),
    "gate tolerance": (
        lambda: Gate(tolerance=True),
        "Gate.tolerance",
        True,
        "a number from 0 to 1",
    ),
    "gate confidence": (
        lambda: Gate(confidence=1.0),
        "Gate.confidence",
        1.0,
        "a number from 0.5 to 0.999",
    ),
    "gate harm": (lambda: Gate(harm=-0.1), "Gate.harm", -0.1, "a number from 0 to 10"),
    "gate calibration": (
        lambda: Gate(calibration=-1),
        "Gate.calibration",
        -1,
        "a number from 0 to 10",
    ),
    "gate calibration error": (
        lambda: Gate(calibration_error=2),
        "Gate.calibration_error",
        2,
        "a number from 0 to 1",
    ),
    "gate slice rows": (
        lambda: Gate(slice_rows=5),
        "Gate.slice_rows",
        5,
        "a number from 20 to 1e+12",
    ),
    "gate bad cases": (
        lambda: Gate(bad_cases=-1),
        "Gate.bad_cases",
        -1,
        "a number from 0 to 1000",
    ),
    "gate latency": (
        lambda: Gate(latency_us=0),
        "Gate.latency_us",
        0,
        "a number from 0.1 to 6e+07",
    ),
    "gate size": (
        lambda: Gate(size_bytes=1.5),
        "Gate.size_bytes",
        1.5,
        "a whole number from 1 to 1000000000000",
    ),
    "bad case": (lambda: BadCase("missed", 1), "BadCase missed.when", 1, "an expression"),
    "project name": (lambda: project(name="My shop"), "Project.name", "My shop", NAME),
    "project events": (lambda: project(events=[]), "Project.events", [], "a tuple"),
    "project event kind": (lambda: project(events=(1,)), "Project.events", 1, "an Event"),
    "project feature kind": (
        lambda: project(features=("x",)),
        "Project.features",
        "x",
        "a Window, LabelRate, StaticRow, Request- or DerivedFeature",
    ),
    "project request": (
        lambda: project(request=payment),
        "Project.request",
        payment,
        "a Request",
    ),
    "project gate": (lambda: project(gate=1), "Project.gate", 1, "a Gate"),
    "event twice": (
        lambda: project(events=(payment, payment)),
        "Project.events",
        "payment",
        "each name once",
    ),
    "event not listed": (
        lambda: project(events=(Event("other", "card", FIELDS),)),
        "Window spent.event",
        "payment",
        "one of Project.events",
    ),
    "entity key not in the request": (
        lambda: project(features=(window(by=(Entity("note", ("note",)),)),)),
        "Entity note.keys",
        "note",
        "one of card, amount, shop, time",
    ),
    "feature twice": (
        lambda: project(features=(window(), window())),
        "Project.features",
        "spent_sum_card_1h",
        "each name once",
    ),
    "two entities of one name": (
        lambda: project(
            features=(window(), window(name="more", by=(Entity("card", ("card", "amount")),)))
        ),
        "Project.entities",
        "card",
        "each name once",
    ),
    "feature called score": (
        lambda: project(features=(RequestFeature("score", request.amount),)),
        "Project.features",
        "score",
        "any name but score and label",
    ),
    "request feature of a window's field": (
        lambda: project(features=(RequestFeature("x", column("note")),)),
        "RequestFeature x.value",
        "note",
        "one of card, amount, shop, time",
    ),
    "request feature of a string": (
        lambda: project(features=(RequestFeature("x", request.card),)),
        "RequestFeature x.value",
        request.card,
        NUMBERS,
    ),
    "category of a number": (
        lambda: project(features=(RequestFeature("x", category(request.amount)),)),
        "RequestFeature x.value",
        category(request.amount),
        NUMBERS,
    ),
    "derived from itself": (
        lambda: project(features=(RequestFeature("a", request.amount), derived("x", "x"))),
        "DerivedFeature x.value",
        "x",
        "one of a",
    ),
    "derived from a later one": (
        lambda: project(
            features=(RequestFeature("a", request.amount), derived("x", "y"), derived("y", "a"))
        ),
        "DerivedFeature x.value",
        "y",
        "one of a",
    ),
    "bad case reads a field": (
        lambda: project(features=(), bad_cases=(BadCase("missed", column("card") > 1),)),
        "BadCase missed.when",
        "card",
        "one of score, label",
    ),
    "bad case twice": (
        lambda: project(bad_cases=(BadCase("missed", column("score") > 0.5),) * 2),
        "Project.bad_cases",
        "missed",
        "each name once",
    ),
    "label key not in the request": (
        lambda: project(label=Label(("note",), "1h")),
        "Label.key",
        "note",
        "one of card, amount, shop, time",
    ),
    "label key may be missing": (
        lambda: project(label=Label(("shop",), "1h")),
        "Label.key",
        "shop",
        "request fields that are never missing",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_the_place_what_was_found_and_what_is_allowed(mistake: str) -> None:
    """Every mistake raises a DeclarationError with its name, what was found and what is allowed."""
    declare, name, found, allowed = MISTAKES[mistake]
    with pytest.raises(DeclarationError) as caught:
        declare()
    error = caught.value
    assert (name, repr(found), allowed) == (error.name, repr(error.found), error.allowed)


def test_the_text_of_a_mistake_is_one_line_with_all_four_parts() -> None:
    """The error's text holds file, name, found and allowed."""
    error = DeclarationError("Label.wait", "soon", "a duration", "shop.py:3")
    assert "shop.py:3: Label.wait: found 'soon'; allowed: a duration" == str(error)


def test_window_features_are_named_by_window_aggregate_entity_and_length() -> None:
    """A window's features come by entity, then length, then aggregate."""
    expected = [
        "spent_sum_card_1h",
        "spent_count_card_1h",
        "spent_sum_card_24h",
        "spent_count_card_24h",
    ]
    assert expected == window().names


def test_features_keep_the_order_of_their_declaration() -> None:
    """The vector has the features as declared, a window's expanded in place."""
    made = project(
        features=(
            RequestFeature("amount", request.amount),
            window(over=("1h",)),
            DerivedFeature("ratio", column("amount") / column("spent_sum_card_1h")),
        )
    )
    expected = ["amount", "spent_sum_card_1h", "spent_count_card_1h", "ratio"]
    assert expected == made.feature_names


def test_a_derived_feature_may_read_an_earlier_derived_one_and_a_later_window() -> None:
    """Derived features read everything but derived features that come after them."""
    features = (derived("x", "spent_sum_card_1h"), derived("y", "x"), window())
    assert "y" == project(features=features).feature_names[1]


def test_entities_are_listed_once_in_order_of_first_mention() -> None:
    """Entities shared by windows appear once."""
    both = Entity("both", ("card", "amount"))
    features = (window(by=(both,)), window(name="again", by=(card, both)))
    assert (both, card) == project(features=features).entities


def test_a_field_that_is_named_like_an_attribute_is_reached_by_index() -> None:
    """`event["name"]` is the column where `event.name` is the event's own name."""
    event = Event("visit", key="name", fields={"name": str})
    assert column("name") == event["name"]
    assert "visit" == event.name


def test_a_bad_case_knows_whether_it_needs_the_label() -> None:
    """A rule that reads `label` waits for it."""
    unsure = BadCase("unsure", column("score") > 0.4)
    missed = BadCase("missed", (column("label") > 0) & (column("score") < 0.2))
    assert (False, True) == (unsure.needs_label, missed.needs_label)


def test_only_marked_request_features_are_categorical() -> None:
    """The schema's categorical names are those marked so."""
    made = project(
        features=(
            RequestFeature("card", category(request.card), categorical=True),
            RequestFeature("amount", request.amount),
        )
    )
    assert ["card"] == made.categorical_names


def test_numbered_aggregates_make_several_features() -> None:
    """The K newest and the K most frequent values are K features, a percentile is one."""
    found = window(aggregate=("last_2", "top_2", "p99"), over=("lifetime",)).names
    names = ("last_1", "last_2", "top_1", "top_2", "p99")
    assert [f"spent_{name}_card_lifetime" for name in names] == found


def test_label_rates_bring_the_event_they_aggregate() -> None:
    """The event of labels has the keys of the requests and the label's value."""
    shop = Entity("shop", ("card", "shop"))
    rated = project(features=(LabelRate("bad", (card, shop), ("1d",), 0.1),))
    assert rated.label_event is not None
    fields = {"card": str, "shop": str | None, "value": float}
    assert (fields, None) == (rated.label_event.fields, project().label_event)
    assert ["bad_card_1d", "bad_shop_1d"] == rated.feature_names


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer": LinearModel()},
        {"search": Search(families=(LightGBM(), LinearModel()))},
        {"trainer": LinearModel(), "learner": Mixture("both", (Linear(), TreeHead()))},
    ],
)
def test_a_head_goes_with_trees_alone(changes: dict[str, Any]) -> None:
    """What trains or may find anything else needs a learner that stands on any release."""
    with pytest.raises(DeclarationError, match="TreeHead with LinearModel'; allowed: a learner"):
        project(**changes)
    assert project(**(changes | {"learner": Linear()})).trainers
