"""What comes from outside is decoded, or refused with cause, field, found and allowed."""

from __future__ import annotations

import json

import pytest
import shops

from features.decoding import (
    LARGEST_WHOLE,
    TIME_ALLOWED,
    EventDecoder,
    RequestDecoder,
    decode_label,
    event_key,
)
from tidemill import Event, Label, Project, Request, RequestFeature
from tidemill.clock import FakeClock
from tidemill.errors import InputError

NOW = shops.START
SKEW = 1_000
EVENTS = EventDecoder(shops.project, FakeClock(NOW), SKEW)
REQUESTS = RequestDecoder(shops.project, FakeClock(NOW), SKEW)
PAYMENT = {"event": "payment", "time": NOW, "card": "a"}
REQUEST = {"card": "a", "amount": 2.5}
LABEL = {"key": "a", "value": 1, "time": NOW}
DEEP = b"[" * 100_000


def body(good: dict[str, object], **changes: object) -> bytes:
    """A good record with changes, as JSON; None removes nothing, it is null."""
    return json.dumps(good | changes).encode()


def without(good: dict[str, object], field: str) -> bytes:
    """A good record that lacks one field."""
    return json.dumps({name: value for name, value in good.items() if name != field}).encode()


def event_error(data: bytes) -> InputError:
    """Why the event is refused."""
    with pytest.raises(InputError) as caught:
        EVENTS.decode(data, EVENTS.latest_ms())
    return caught.value


def request_error(data: bytes) -> InputError:
    """Why the request is refused."""
    with pytest.raises(InputError) as caught:
        REQUESTS.decode(data)
    return caught.value


def batch_error(data: bytes) -> InputError:
    """Why the batch is refused."""
    with pytest.raises(InputError) as caught:
        REQUESTS.decode_batch(data)
    return caught.value


def label_error(data: bytes) -> InputError:
    """Why the label is refused."""
    with pytest.raises(InputError) as caught:
        decode_label(data, NOW + SKEW)
    return caught.value


def test_an_event_is_decoded_to_its_kind_and_fields() -> None:
    """The index says which event, missing optional fields are None."""
    index, record = EVENTS.decode(body(PAYMENT, amount=2), NOW)
    expected = (0, "a", 2.0, None, None, NOW)
    assert expected == (index, record.card, record.amount, record.shop, record.id, record.time)


def test_the_second_kind_of_event_has_its_own_index() -> None:
    """Events are told apart by their `event` field, wherever it stands."""
    data = json.dumps({"floor": 3, "shop": "s", "time": NOW, "event": "visit", "id": "v1"})
    index, record = EVENTS.decode(data.encode(), NOW)
    assert (1, 3, "v1") == (index, record.floor, record.id)


@pytest.mark.parametrize(
    "time", ["2013-05-01T00:00:00Z", "2013-04-30T20:00:00-04:00", "2013-05-01T00:00:00.000+00:00"]
)
def test_a_time_may_be_iso_8601_with_an_offset(time: str) -> None:
    """Written times become milliseconds."""
    assert NOW == EVENTS.decode(body(PAYMENT, time=time), NOW)[1].time


def test_the_latest_time_is_now_and_the_allowed_skew() -> None:
    """An event at the limit is taken, one after it is not."""
    assert NOW + SKEW == EVENTS.decode(body(PAYMENT, time=NOW + SKEW), EVENTS.latest_ms())[1].time
    assert "absurd_time" == event_error(body(PAYMENT, time=NOW + SKEW + 1)).cause


@pytest.mark.parametrize(
    "time",
    [0, -1, 10**30, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)
def test_an_absurd_time_is_refused(time: object) -> None:
    """Times before 1970 or far ahead are refused for events, requests and labels."""
    expected = ("absurd_time", "time")
    errors = [event_error(body(PAYMENT, time=time)), request_error(body(REQUEST, time=time))]
    assert [expected] * 2 == [(error.cause, error.field) for error in errors]


@pytest.mark.parametrize("time", [0, -1, 10**30])
def test_a_label_of_an_absurd_time_is_refused(time: int) -> None:
    """A label's time is checked as an event's is."""
    error = label_error(body(LABEL, time=time))
    assert ("absurd_time", "time") == (error.cause, error.field)


@pytest.mark.parametrize("time", ["2013-05-01T00:00:00", "yesterday", True, 1.5, None, {}])
def test_a_time_of_another_form_says_what_is_allowed(time: object) -> None:
    """A time without an offset, a float or anything else names the two forms."""
    error = event_error(body(PAYMENT, time=time))
    assert ("time", TIME_ALLOWED) == (error.field, error.allowed)


MALFORMED = {
    "empty": b"",
    "half": b'{"event":',
    "not JSON": b"card=a",
    "NaN": b'{"event":"payment","time":1,"card":"a","amount":NaN}',
    "infinity": b'{"event":"payment","time":1,"card":"a","amount":-Infinity}',
    "not UTF-8": b'{"event":"payment","time":1,"card":"\xff"}',
    "not UTF-8 name": b'{"event":"payment","time":1,"card":"a","\xff":1}',
    "not UTF-8 tag": b'{"event":"\xff"}',
    "bytes": b"\xff\xfe\x00",
    "half a surrogate pair": b'{"event":"payment","time":1,"card":"\\ud800"}',
    "two documents": body(PAYMENT) * 2,
    "deep, before the tag": b'{"x":' + DEEP + b"]" * 100_000 + b',"event":"payment"}',
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_body_is_refused_everywhere(data: bytes) -> None:
    """What is no JSON is malformed as an event, and refused as request, batch and label."""
    refused = [event_error(data), request_error(data), batch_error(data), label_error(data)]
    assert ("malformed", "body", 4) == (refused[0].cause, refused[0].field, len(refused))


@pytest.mark.parametrize("data", [DEEP, b"null", b"3", b'"text"', b"[]"])
def test_json_of_another_shape_is_a_wrong_type(data: bytes) -> None:
    """Anything but one object is refused."""
    errors = [event_error(data), request_error(data), batch_error(data), label_error(data)]
    assert [("wrong_type", "body")] * 4 == [(error.cause, error.field) for error in errors]


@pytest.mark.parametrize("field", ["card", "time"])
def test_a_missing_field_is_named(field: str) -> None:
    """An event without a required field names it."""
    error = event_error(without(PAYMENT, field))
    assert ("missing_field", field) == (error.cause, error.field)


def test_a_required_field_may_not_be_null() -> None:
    """null is only for optional fields."""
    error = event_error(body(PAYMENT, card=None))
    expected = ("wrong_type", "card", "null", "str")
    assert expected == (error.cause, error.field, error.found, error.allowed)


def test_an_unknown_field_is_named() -> None:
    """A field that is not declared is refused, also on requests and labels."""
    errors = [
        event_error(body(PAYMENT, colour="red")),
        request_error(body(REQUEST, colour="red")),
        label_error(body(LABEL, colour="red")),
    ]
    assert [("unknown_field", "colour")] * 3 == [(error.cause, error.field) for error in errors]


@pytest.mark.parametrize(
    ("field", "value", "found", "allowed"),
    [
        ("card", 1, "int", "str"),
        ("amount", "2.5", "str", "float | null"),
        ("amount", True, "bool", "float | null"),
        ("online", 1, "int", "bool | null"),
        ("shop", ["s"], "array", "str | null"),
        ("id", 7, "int", "str | null"),
    ],
)
def test_a_wrong_type_is_named(field: str, value: object, found: str, allowed: str) -> None:
    """A value of another type says which and what is allowed."""
    error = event_error(body(PAYMENT, **{field: value}))
    expected = ("wrong_type", field, found, allowed)
    assert expected == (error.cause, error.field, error.found, error.allowed)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400])
def test_a_number_beyond_float64_is_refused(number: str) -> None:
    """No number becomes infinite on the way in."""
    data = body(PAYMENT)[:-1] + f', "amount": {number}}}'.encode()
    error = event_error(data)
    expected = (
        "invalid_value",
        "amount",
        "a number out of range",
        "a number that float64 can hold",
    )
    assert expected == (error.cause, error.field, error.found, error.allowed)


@pytest.mark.parametrize("number", [str(LARGEST_WHOLE + 1), str(-LARGEST_WHOLE - 1), "9" * 400])
def test_a_whole_number_that_a_column_cannot_hold_is_refused(number: str) -> None:
    """Whole numbers whose float64 would be another number are refused, not rounded."""
    data = f'{{"event":"visit","time":{NOW},"shop":"s","floor":{number}}}'.encode()
    error = event_error(data)
    assert ("invalid_value", "floor", "a number out of range") == (
        error.cause,
        error.field,
        error.found,
    )
    assert f"an integer from -{LARGEST_WHOLE} to {LARGEST_WHOLE}" == error.allowed


@pytest.mark.parametrize("value", [{"event": "refund"}, {"event": 5}, {"event": None}])
def test_an_unknown_event_names_the_known_ones(value: dict[str, object]) -> None:
    """An event type that is not declared lists the declared ones."""
    error = event_error(body(PAYMENT, **value))
    expected = ("unknown_event", "event", "one of payment, visit")
    assert expected == (error.cause, error.field, error.allowed)


def test_an_event_without_its_type_is_unknown() -> None:
    """The field `event` is required."""
    error = event_error(without(PAYMENT, "event"))
    assert ("unknown_event", "nothing") == (error.cause, error.found)


@pytest.mark.parametrize("named", [{}, {"event": ""}, {"event": None}, {"event": "refund"}])
def test_the_only_kind_of_event_must_be_named_too(named: dict[str, object]) -> None:
    """Else its producers would be refused on the day a second kind is declared."""
    sale, request = Event("sale", key="card", fields={"card": str}), Request({"amount": float})
    features = (RequestFeature("amount", request.amount),)
    decoder = EventDecoder(
        Project("alone", (sale,), request, features, Label(wait="1h")), FakeClock(NOW), SKEW
    )
    fields: dict[str, object] = {"time": NOW, "card": "a"}
    with pytest.raises(InputError) as caught:
        decoder.decode(body(fields | named), NOW)
    expected = ("unknown_event", "event", "one of sale")
    assert expected == (caught.value.cause, caught.value.field, caught.value.allowed)
    assert decoder.decode_many([body(fields | named)]) is None
    assert decoder.decode(body(fields, event="sale"), NOW)[1].card == "a"


@pytest.mark.parametrize("name", ["no_event", "nothing"])
def test_a_field_may_have_any_name(name: str) -> None:
    """What refuses events without a kind is never taken for a declared field."""
    sale, request = (
        Event("sale", key="card", fields={"card": str, name: float}),
        Request({"a": int}),
    )
    features = (RequestFeature("a", request.a),)
    decoder = EventDecoder(
        Project("alone", (sale,), request, features, Label(wait="1h")), FakeClock(NOW), SKEW
    )
    with pytest.raises(InputError) as caught:
        decoder.decode(body({"event": "sale", "time": NOW, "card": "a"}), NOW)
    assert ("missing_field", name) == (caught.value.cause, caught.value.field)


def test_a_project_without_events_refuses_every_event() -> None:
    """Nothing decodes where nothing is declared."""
    request = Request({"card": str, "amount": float})
    features = (RequestFeature("amount", request.amount),)
    alone = Project("alone", (), request, features, Label(("card",), "1h"))
    decoder = EventDecoder(alone, FakeClock(NOW), SKEW)
    for data in (b"null", b"{}", body(PAYMENT)):
        with pytest.raises(InputError):
            decoder.decode(data, NOW)


def test_an_events_key_is_its_key_fields_value() -> None:
    """The Kafka key is the declared field as text."""
    _, record = EVENTS.decode(body(PAYMENT, card="ü"), NOW)
    assert "ü" == event_key(shops.payment, record)


def test_a_request_without_time_is_scored_for_now() -> None:
    """The clock fills in the time; a given one is kept."""
    earlier = REQUESTS.decode(body(REQUEST, time="2013-04-30T23:59:59Z"))
    assert (NOW, NOW - 1_000) == (REQUESTS.decode(body(REQUEST)).time, earlier.time)


def test_a_request_lacking_a_field_names_it() -> None:
    """A score request without a required field is refused."""
    error = request_error(without(REQUEST, "amount"))
    assert ("missing_field", "amount") == (error.cause, error.field)


def test_a_batch_is_decoded_in_order() -> None:
    """The requests of a batch come back in their order, times filled in."""
    data = json.dumps({"requests": [REQUEST, REQUEST | {"card": "b", "time": NOW - 1}]})
    decoded = REQUESTS.decode_batch(data.encode())
    assert [("a", NOW), ("b", NOW - 1)] == [(request.card, request.time) for request in decoded]


@pytest.mark.parametrize(
    ("second", "cause", "field"),
    [
        ({"card": "a"}, "missing_field", "requests[1].amount"),
        (REQUEST | {"colour": 1}, "unknown_field", "requests[1].colour"),
        (REQUEST | {"amount": "x"}, "wrong_type", "requests[1].amount"),
        (REQUEST | {"time": 0}, "absurd_time", "requests[1].time"),
        (REQUEST | {"time": "noon"}, "invalid_value", "requests[1].time"),
        (REQUEST | {"floor": 10**20}, "invalid_value", "requests[1].floor"),
        (7, "wrong_type", "requests[1]"),
    ],
)
def test_a_bad_request_in_a_batch_is_named_by_its_place(
    second: object, cause: str, field: str
) -> None:
    """The error says which request of the batch it is about."""
    error = batch_error(json.dumps({"requests": [REQUEST, second]}).encode())
    assert (cause, field) == (error.cause, error.field)


def test_the_join_key_is_the_values_with_a_bar_between() -> None:
    """Several key fields are joined with `|`, one stands alone."""
    request = Request({"card": str, "number": int})
    features = (RequestFeature("number", request.number),)
    two = Project("two", (), request, features, Label(("card", "number"), "1h"))
    decoder = RequestDecoder(two, FakeClock(NOW), SKEW)
    assert "a|7" == decoder.join_key(decoder.decode(b'{"card": "a", "number": 7}'), "id")
    assert "a" == REQUESTS.join_key(REQUESTS.decode(body(REQUEST)), "id")


def test_without_key_fields_the_join_key_is_the_prediction_id() -> None:
    """The caller got it with the answer and names it in the label."""
    request = Request({"card": str, "number": int})
    features = (RequestFeature("number", request.number),)
    decoder = RequestDecoder(
        Project("two", (), request, features, Label(wait="1h")), FakeClock(NOW), SKEW
    )
    assert "id" == decoder.join_key(decoder.decode(b'{"card": "a", "number": 7}'), "id")


def test_a_label_is_decoded() -> None:
    """A label has key, value and time."""
    label = decode_label(body(LABEL), NOW)
    assert ("a", 1, NOW) == (label.key, label.value, label.time)


@pytest.mark.parametrize(
    ("value", "found"),
    [(2, "2"), (-1, "-1"), (0.5, "0.5"), ("1", "str"), (True, "bool"), (None, "null")],
)
def test_a_label_is_zero_or_one(value: object, found: str) -> None:
    """Any other value is refused, and the two that are allowed are named."""
    error = label_error(body(LABEL, value=value))
    assert ("value", found, "0 or 1") == (error.field, error.found, error.allowed)


@pytest.mark.parametrize("value", [0, 1, -2.5, 1e300])
def test_a_number_label_is_any_finite_number(value: float) -> None:
    """Where numbers are declared, every one that float64 can hold is a label."""
    assert value == decode_label(body(LABEL, value=value), NOW, "number").value


@pytest.mark.parametrize("value", [b"1e999", b"NaN", b'"1"', b"true", b"null"])
def test_what_is_no_finite_number_is_no_number_label(value: bytes) -> None:
    """The answer says what a number label may be."""
    data = b'{"key": "a", "time": 5, "value": ' + value + b"}"
    with pytest.raises(InputError) as caught:
        decode_label(data, NOW, "number")
    assert caught.value.cause in ("wrong_type", "invalid_value", "malformed")


def test_a_label_names_its_producer() -> None:
    """Who sent it is optional."""
    found = [decode_label(body(LABEL, **more), NOW).producer for more in ({}, {"producer": "p"})]
    assert ["", "p"] == found


def test_a_label_with_another_mistake_names_that() -> None:
    """Only a bad value is answered with the allowed ones."""
    errors = [label_error(without(LABEL, "value")), label_error(body(LABEL, my_value=1))]
    expected = [("missing_field", "value", "a value")]
    expected += [("unknown_field", "my_value", "declared fields only")]
    assert expected == [(error.cause, error.field, error.allowed) for error in errors]


def test_two_bodies_never_make_one_event() -> None:
    """Where undeclared fields are passed over, a list in one of them must not join two bodies."""
    decoder = EventDecoder(shops.project, FakeClock(NOW), SKEW, strict=False)
    good = json.dumps(PAYMENT).encode()
    cut = [good[:-1] + b',"more":[{}', b"{}]}," + good]
    assert decoder.decode_many(cut) is None
    for each in cut:
        with pytest.raises(InputError):
            decoder.decode(each, NOW)
    known = decoder.decode_many([good, good[:-1] + b',"more":{"a":1}}'])
    assert known is not None
    assert 2 == len(known[1])
