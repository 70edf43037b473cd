"""Topic names, store keys and which partition owns an entity."""

from __future__ import annotations

from tidemill import topics
from tidemill.topics import Names

NAMES = Names("shop", 4)


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
    ]
    assert len(keys) == len(set(keys))
