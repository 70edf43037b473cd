"""Keys go where Kafka's own clients put them, one by one or many at once."""

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from cli.partitioner import FEW, LONGEST_BYTES, partitions_of


def one_by_one(keys: list[bytes], partitions: int) -> list[int]:
    """As aiokafka's default partitioner does it."""
    return [(murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]


@given(st.lists(st.binary(max_size=70), max_size=3 * FEW), st.integers(1, 100))
def test_many_go_where_each_would(keys, partitions):
    """Of all lengths, and all bytes."""
    assert one_by_one(keys, partitions) == partitions_of(keys, partitions)


@pytest.mark.parametrize("length", [*range(10), LONGEST_BYTES, LONGEST_BYTES + 1])
def test_keys_of_one_length_do(length):
    """As the ids of predictions are."""
    keys = [bytes([n] * length) for n in range(2 * FEW)]
    assert one_by_one(keys, 7) == partitions_of(keys, 7)


def test_known_places():
    """What other clients say: EWR, JFK and LGA of four."""
    assert [3, 1, 0] == partitions_of([b"EWR", b"JFK", b"LGA"], 4)
    assert [3, 1, 0] * FEW == partitions_of([b"EWR", b"JFK", b"LGA"] * FEW, 4)


@pytest.mark.parametrize("count", [1, FEW])
def test_without_a_key_it_is_the_first(count):
    """Beside those that have one."""
    assert [0, 3] * count == partitions_of([None, b"EWR"] * count, 4)


def test_one_partition_needs_no_hash():
    """Nor do no keys at all."""
    assert ([0, 0], []) == (partitions_of([b"a", None], 1), partitions_of([], 4))
