"""History's rows as JSON."""

import json

import numpy as np

from cli.demo.messages import event_records, label_records, request_bodies
from tidemill.sources import Event


def texts(*values: str | None) -> np.ndarray:
    """A column of strings."""
    return np.array(values, dtype=object)


def test_event_carries_its_name_time_and_fields():
    """Missing numbers and strings are null; the key is the declared field's value."""
    event = Event("left", "at", {"at": str, "tail": str | None, "delay": float | None})
    columns = {
        "time": np.array([7]),
        "at": texts("JFK"),
        "tail": texts(None),
        "delay": np.array([np.nan]),
        "not_declared": np.array([1]),
    }
    ((key, body),) = event_records(event, columns)
    assert key == b"JFK"
    expected = {"event": "left", "time": 7, "at": "JFK", "tail": None, "delay": None}
    assert json.loads(body) == expected


def test_label_is_what_the_topic_takes():
    """Key, value and time, keyed by the join key."""
    columns = {"key": texts("f1"), "value": np.array([1], np.int8), "time": np.array([9])}
    assert [(k, json.loads(b)) for k, b in label_records(columns)] == [
        (b"f1", {"key": "f1", "value": 1, "time": 9})
    ]


def test_request_has_its_time():
    """Only the declared fields are sent."""
    columns = {"time": np.array([3]), "flight": texts("f1"), "row": np.array([0])}
    assert [json.loads(body) for body in request_bodies(["flight"], columns)] == [
        {"time": 3, "flight": "f1"}
    ]
