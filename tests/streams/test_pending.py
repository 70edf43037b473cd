"""The table of what waits: it comes back from the store as it was, and expires by stream time."""

import msgspec
from stream_world import NOW, make_prediction

from streams.label_policy import Gathered
from streams.pending import Done, Early, KeptLabel, PendingTable, Waiting
from tidemill.wire import LabelEvent


def table(stored: dict[str, bytes] | None = None, limit: int = 100) -> PendingTable:
    """A table at NOW."""
    return PendingTable(stored or {}, NOW, limit)


def kept(key: str, body: bytes = b"") -> KeptLabel:
    """A label as it was read."""
    return KeptLabel(LabelEvent(key, 1, NOW), 3, NOW, body)


def test_entries_come_back_from_the_store() -> None:
    """What `changes` says to set makes an equal table."""
    gathered = Gathered(2, 3.0, 2.0, 1.0, NOW, NOW + 1, "p")
    entries = {
        "a": Waiting(make_prediction("a", NOW), NOW + 5),
        "b": Early((kept("b"), kept("b", b"{}")), NOW + 6),
        "c": Done("joined", NOW + 7),
        "d": Waiting(make_prediction("d", NOW), NOW + 8, gathered, (kept("d"),)),
        "e": Done("missing", NOW + 9, make_prediction("e", NOW), NOW + 2, 0.0, gathered),
    }
    first = table()
    for key, entry in entries.items():
        first.put(key, entry)
    stored, deleted = first.changes()
    again = table(stored)
    assert ([], entries) == (deleted, {key: again.get(key) for key in entries})


def test_entries_of_an_earlier_version_are_read() -> None:
    """As it wrote them: one early label, and no more of a prediction than that it waits."""
    label, prediction = {"key": "b", "value": 1, "time": NOW}, make_prediction("a", NOW)
    written = {
        "key:a": ["p", prediction, NOW + 5],
        "key:b": ["l", label, 3, NOW, NOW + 6],
        "key:c": ["d", "expired", NOW + 7],
    }
    stored = {name: msgspec.msgpack.encode(entry) for name, entry in written.items()}
    found = table(stored)
    assert Waiting(prediction, NOW + 5) == found.get("a")
    assert Early((kept("b"),), NOW + 6) == found.get("b")
    assert Done("expired", NOW + 7) == found.get("c")


def test_a_kept_label_is_the_record_it_was() -> None:
    """Its key, bytes, place and stamp; without its bytes, what it says."""
    label = kept("b", b"as it came")
    assert (b"b", b"as it came", 3, NOW) == (label.key, label.value, label.offset, label.timestamp)
    assert LabelEvent("b", 1, NOW) == msgspec.json.decode(kept("b").value, type=LabelEvent)


def test_saved_changes_are_not_named_again() -> None:
    """After `saved` only new changes are left."""
    found = table()
    found.put("a", Done("joined", NOW))
    found.saved()
    assert ({}, []) == found.changes()


def test_entries_expire_after_their_time() -> None:
    """An entry is over once stream time has passed it, not when it is reached."""
    found = table()
    found.put("b", Done("joined", NOW + 1))
    found.put("a", Done("joined", NOW))
    assert found.pop_expired() is None
    found.stream_time = NOW + 1
    assert ("a", Done("joined", NOW)) == found.pop_expired()
    assert found.pop_expired() is None
    assert (1, ["key:a"]) == (len(found), found.changes()[1])


def test_a_replaced_entry_expires_by_its_new_time() -> None:
    """The old time of an entry that was replaced means nothing."""
    found = table()
    found.put("a", Done("joined", NOW))
    found.put("a", Done("expired", NOW + 10))
    found.stream_time = NOW + 5
    assert found.pop_expired() is None


def test_beyond_the_limit_is_what_expires_first() -> None:
    """Whatever kind of entry it is, and however far its time is."""
    found = table(limit=2)
    for place, key in enumerate("cab"):
        found.put(key, Done("joined", NOW + 10 - place))
    assert ("b", Done("joined", NOW + 8)) == found.pop_beyond()
    assert (None, 2) == (found.pop_beyond(), len(found))


def test_the_queue_does_not_grow_with_replacements(monkeypatch) -> None:
    """Times that mean nothing any more are dropped now and then."""
    monkeypatch.setattr("streams.pending._MOST_STALE", 5)
    found = table()
    for place in range(100):
        found.put("a", Done("joined", NOW + place))
    assert len(found._queue) <= 7
    found.stream_time = NOW + 200
    assert ("a", Done("joined", NOW + 99)) == found.pop_expired()


def test_keys_that_look_like_the_outbox_are_kept_apart() -> None:
    """Whatever a user's join key is, it cannot be taken for an outbox entry."""
    found = table({"outbox:1": b"an example"})
    found.put("outbox:1", Done("joined", NOW))
    assert ["key:outbox:1"] == list(found.changes()[0])
