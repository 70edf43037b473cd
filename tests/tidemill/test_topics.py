"""Topic names, store keys and which partition owns an entity."""

from __future__ import annotations

from tidemill import topics
from tidemill.topics import Names

NAMES = Names("shop", 4)
OTHER_STATE = Names("shop", 4, state="abcd0123")
OTHER_SCHEMA = Names("shop", 4, schema="f" * 12)


def test_a_topic_carries_the_projects_name() -> None:
    """Every kind has its topic and finds its way back."""
    assert [f"shop.{kind}" for kind in topics.ALL] == [NAMES.topic(kind) for kind in topics.ALL]
    assert list(topics.ALL) == [NAMES.kind(NAMES.topic(kind)) for kind in topics.ALL]


def test_what_has_one_order_has_one_partition() -> None:
    """Examples and announcements have one partition, traffic has them all."""
    actual = {kind: NAMES.partitions_of(kind) for kind in topics.ALL}
    expected = {kind: 1 if kind in topics.SINGLE_PARTITION else 4 for kind in topics.ALL}
    assert expected == actual
    assert (1, 4) == (actual[topics.EXAMPLES], actual[topics.EVENTS])


def test_an_entitys_partition_never_changes() -> None:
    """The owner of a key is the same in every process and release."""
    assert [3, 2, 2, 2] == [NAMES.entity_partition(key) for key in ("JFK", "LGA", "EWR", "é")]


def test_many_keys_are_named_as_one_is() -> None:
    """Each with the hash tag of its partition, and with the state if it is the state's."""
    keys = ["JFK", "é", "", "a{b}:c\x1f"]
    for names in (NAMES, OTHER_STATE):
        expected = [names.blob(names.entity_partition(key), "card", key) for key in keys]
        assert expected == names.blobs("card", keys)
    expected = [f"{{shop:{NAMES.entity_partition(key)}}}:static:table:12:{key}" for key in keys]
    assert expected == NAMES.static_rows("table", 12, keys)
    assert expected == [NAMES.static_row("table", 12, key) for key in keys]


def test_all_keys_of_a_partition_share_a_hash_tag() -> None:
    """The fence, the side hash and the blobs of a partition lie on one cluster node."""
    keys = [
        NAMES.blob(3, "card", "a{b}c"),
        NAMES.fence("updates", 3),
        NAMES.side("updates", 3),
    ]
    assert ["shop:3"] * 3 == [key[1 : key.index("}")] for key in keys]


def test_keys_of_different_things_differ() -> None:
    """No two kinds of key coincide."""
    keys = [
        NAMES.blob(0, "card", "x"),
        NAMES.blob(0, "user", "x"),
        NAMES.blob(1, "card", "x"),
        NAMES.fence("join", 0),
        NAMES.side("join", 0),
        NAMES.snapshot("head"),
        NAMES.status(),
        NAMES.bad_cases(),
        Names("other", 4).blob(0, "card", "x"),
        OTHER_STATE.blob(0, "card", "x"),
        OTHER_STATE.fence("updates", 0),
        NAMES.fence("updates", 0),
        OTHER_SCHEMA.fence("learn", 0),
        NAMES.fence("learn", 0),
        OTHER_SCHEMA.snapshot("head"),
        OTHER_SCHEMA.status(),
        OTHER_SCHEMA.bad_cases(),
    ]
    assert len(keys) == len(set(keys))


def test_what_depends_on_the_state_carries_it() -> None:
    """Two states are folded side by side: own blobs, fences and groups for the feature steps."""
    names = Names("shop", 4, "abcd0123", "f" * 12)
    assert "{shop:1}:abcd0123:card:x" == names.blob(1, "card", "x")
    assert "{shop:1}:fence:updates:abcd0123" == names.fence("updates", 1)
    assert ["shop-events-abcd0123", "shop-updates-abcd0123"] == [
        names.group(step) for step in topics.FEATURE_STEPS
    ]


def test_what_depends_on_the_schema_carries_it() -> None:
    """A learner of another schema has its own group, fence and snapshot."""
    names = Names("shop", 4, "abcd0123", "f" * 12)
    assert "shop-learn-ffffffffffff" == names.group("learn")
    assert "{shop:0}:fence:learn:ffffffffffff" == names.fence("learn", 0)
    assert "{shop:0}:snapshot:head:ffffffffffff" == names.snapshot("head")


def test_what_all_declarations_share_carries_neither() -> None:
    """Join and archive go on whichever declaration their worker has."""
    names = Names("shop", 4, "abcd0123", "f" * 12)
    for step in ("join", "archive"):
        assert f"shop-{step}" == names.group(step)
        assert NAMES.fence(step, 2) == names.fence(step, 2)
        assert NAMES.side(step, 2) == names.side(step, 2)
