"""The AsyncAPI document: every topic, what is on it, and examples that decode."""

import msgspec
import pytest

from features.cloud_events import event_body
from features.decoding import EventDecoder, decode_label
from tidemill import Entity, Event, Label, Project, Request, RequestFeature, Window, topics
from tidemill.asyncapi import asyncapi
from tidemill.clock import FakeClock
from tidemill.memory_bus import MemoryMessage
from tidemill.wire import Prediction

NOW = 1_400_000_000_000
PAYMENT = Event("payment", "card", {"card": str, "amount": float, "online": bool | None})
REFUND = Event("refund", "card", {"card": str, "items": int})
REQUEST = Request({"card": str, "amount": float})
PROJECT = Project(
    name="payments",
    events=(PAYMENT, REFUND),
    request=REQUEST,
    features=(
        Window("paid", PAYMENT, ("count",), (Entity("card", ("card",)),), ("1h",)),
        RequestFeature("amount", REQUEST.amount),
    ),
    label=Label(("card",), "1d"),
)
DOCUMENT = asyncapi(PROJECT, 4)


def test_every_topic_is_a_channel() -> None:
    """With its address and partitions; only events and labels are received."""
    names = topics.Names("payments", 4)
    assert {names.topic(kind) for kind in topics.ALL} == {
        channel["address"] for channel in DOCUMENT["channels"].values()
    }
    assert [4, 1] == [
        DOCUMENT["channels"][kind]["bindings"]["kafka"]["partitions"]
        for kind in ("events", "examples")
    ]
    assert {"events", "labels"} == {
        each["channel"]["$ref"].rpartition("/")[2]
        for each in DOCUMENT["operations"].values()
        if each["action"] == "receive"
    }


def test_every_reference_leads_somewhere() -> None:
    """Followed from the root."""

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [each for value in node.values() for each in references(value)]
        return [e for value in node for e in references(value)] if isinstance(node, list) else []

    found = references(DOCUMENT)
    assert found
    for reference in found:
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


@pytest.mark.parametrize("event", ["payment", "refund"])
def test_the_examples_of_events_are_accepted(event: str) -> None:
    """As declared, and as a CloudEvent; both are the same event."""
    decoder = EventDecoder(PROJECT, FakeClock(NOW), 0)
    decoded = []
    for example in DOCUMENT["components"]["messages"][f"event_{event}"]["examples"]:
        headers = [(n, v.encode()) for n, v in example.get("headers", {}).items()]
        message = MemoryMessage(0, None, msgspec.json.encode(example["payload"]), 0, headers)
        decoded.append(decoder.decode(event_body(message), decoder.latest_ms()))
    assert decoded[0][0] == decoded[1][0]
    assert decoded[0][1].card == decoded[1][1].card


def test_the_example_of_a_label_is_accepted() -> None:
    """It has the key of the declaration."""
    (example,) = DOCUMENT["components"]["messages"]["label"]["examples"]
    assert "A1" == decode_label(msgspec.json.encode(example["payload"]), NOW).key


def test_records_are_described() -> None:
    """By the fields they travel with, in order."""
    schema = DOCUMENT["components"]["schemas"]["Prediction"]
    assert ("array", len(Prediction.__struct_fields__)) == (schema["type"], len(schema["items"]))
    assert b"prefixItems" not in msgspec.json.encode(DOCUMENT)
    assert (
        "application/msgpack" == (DOCUMENT["components"]["messages"]["predictions"]["contentType"])
    )
