"""Whole record batches are what the client's own road gives, record by record."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.record_batches import take_whole_batches

PLACE = TopicPartition("t", 0)


def log(sizes: list[int], first: int = 100) -> bytes:
    """Record batches of these sizes, one after the other."""
    data, offset = b"", first
    for size in sizes:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
        for place in range(size):
            builder.append(place, 1_000 + offset + place, b"k", b"v%d" % (offset + place), [])
        built = bytearray(builder.build())
        built[:8] = offset.to_bytes(8, "big")  # the base offset is no part of the checksum
        data += bytes(built)
        offset += size
    return data


def client(data: bytes, fetch_offset: int) -> tuple[SimpleNamespace, FetchResult]:
    """A consumer that has fetched this much of one partition from an offset."""
    state = SimpleNamespace(paused=False, position=fetch_offset)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda place: state)
    records = PartitionRecords(PLACE, MemoryRecords(data), [], fetch_offset, None, None, True, 0)
    fetched = FetchResult(PLACE, assignment=assignment, partition_records=records, backoff=0)
    return SimpleNamespace(_fetcher=SimpleNamespace(_records={PLACE: fetched})), fetched


def read(fetched: FetchResult, limits: list[int | None]) -> list[list[tuple]]:
    """What each call gives until nothing is left, and where the position is after it."""
    state, found = fetched._assignment.state_value(PLACE), []
    for limit in limits:
        if fetched.has_more() and (got := fetched.getall(limit)):
            rows = [(r.offset, r.timestamp, r.key, r.value) for r in got]
            found.append([*rows, (state.position,)])
    return found


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    skipped=st.integers(0, 12),
    limits=st.lists(st.integers(1, 9) | st.none(), max_size=8),
    before=st.integers(0, 4),
)
@settings(max_examples=200, deadline=None)
def test_records_and_positions_are_those_of_the_client(
    sizes: list[int], skipped: int, limits: list[int | None], before: int
) -> None:
    """Whatever the limits, and wherever we begin, every record comes once and in order."""
    data, begin = log(sizes), 100 + min(skipped, sum(sizes) - 1)
    limits = [*limits, None]
    _, plain = client(data, begin)
    ours, whole = client(data, begin)
    expected, found = read(plain, limits), read(whole, limits[:before])
    for limit in limits[before:]:
        take_whole_batches(ours)
        found += read(whole, [limit])
    assert expected == found
    assert (False, False) == (plain.has_more(), whole.has_more())


def test_a_position_that_moved_meanwhile_discards_what_was_fetched() -> None:
    """After a seek elsewhere the old records are not returned."""
    ours, whole = client(log([3, 3]), 100)
    take_whole_batches(ours)
    assert 2 == len(whole.getall(2))
    whole._assignment.state_value(PLACE).position = 5
    assert ([], False) == (whole.getall(2), whole.has_more())


def test_a_corrupt_batch_is_an_error() -> None:
    """A batch whose checksum is wrong is never returned."""
    data = bytearray(log([3]))
    data[-1] ^= 1
    ours, whole = client(bytes(data), 100)
    take_whole_batches(ours)
    with pytest.raises(CorruptRecordException, match="invalid CRC"):
        whole.getall(None)
