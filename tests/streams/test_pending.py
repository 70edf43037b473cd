"""The table of what waits: it comes back from the store as it was, and expires by stream time."""

from stream_world import NOW, make_prediction

from streams.pending import Done, Early, PendingTable, Waiting
from tidemill.wire import LabelEvent


def test_entries_come_back_from_the_store() -> None:
    """What `changes` says to set makes an equal table."""
    entries = {
        "a": Waiting(make_prediction("a", NOW), NOW + 5),
        "b": Early(LabelEvent("b", 1, NOW), 3, NOW, NOW + 6),
        "c": Done("joined", NOW + 7),
    }
    table = PendingTable({}, NOW)
    for key, entry in entries.items():
        table.put(key, entry)
    stored, deleted = table.changes()
    again = PendingTable(stored, NOW)
    assert ([], entries) == (deleted, {key: again.get(key) for key in entries})


def test_saved_changes_are_not_named_again() -> None:
    """After `saved` only new changes are left."""
    table = PendingTable({}, NOW)
    table.put("a", Done("joined", NOW))
    table.saved()
    assert ({}, []) == table.changes()


def test_entries_expire_after_their_time() -> None:
    """An entry is over once stream time has passed it, not when it is reached."""
    table = PendingTable({}, NOW)
    table.put("a", Done("joined", NOW))
    table.put("b", Done("joined", NOW + 1))
    assert [] == table.pop_expired()
    table.stream_time = NOW + 1
    assert [("a", Done("joined", NOW))] == table.pop_expired()
    assert (1, ["key:a"]) == (len(table), table.changes()[1])


def test_a_replaced_entry_expires_by_its_new_time() -> None:
    """The old time of an entry that was replaced means nothing."""
    table = PendingTable({}, NOW)
    table.put("a", Done("joined", NOW))
    table.put("a", Done("expired", NOW + 10))
    table.stream_time = NOW + 5
    assert [] == table.pop_expired()


def test_keys_that_look_like_the_outbox_are_kept_apart() -> None:
    """Whatever a user's join key is, it cannot be taken for an outbox entry."""
    table = PendingTable({"outbox:1": b"an example"}, NOW)
    table.put("outbox:1", Done("joined", NOW))
    assert ["key:outbox:1"] == list(table.changes()[0])
