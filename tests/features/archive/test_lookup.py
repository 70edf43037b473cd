"""A prediction is looked for in those files alone that may hold it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from features.archive import lookup, predictions
from features.archive.files import ArchiveWriter, predictions_table
from features.archive.lookup import made_ms
from features.archive.predictions import find_prediction, find_predictions
from tidemill.durations import DAY_MS
from tidemill.topics import PREDICTIONS
from tidemill.wire import Prediction

START = 1_700_000_000_000
MINUTE = 60_000
RANDOM = "3b0c44298fc14c149afbf4c8996fb924"  # of version 4


def timed(ms: int) -> str:
    """An id that was made then."""
    return f"{START + ms:012x}7abc8{'0' * 15}"


def made(ms: int, name: str = "", request_ms: int = 0) -> Prediction:
    """A prediction that was scored so long after the start."""
    id_, scored = name or timed(ms), START + ms
    return Prediction(id_, "k", START + request_ms, b"\0" * 4, "s", 0.5, 0.5, "r0001", 1, scored)


def archive(home: Path, files: Sequence[Sequence[Prediction]], partition: int = 0) -> None:
    """Write each of these groups as a file, in the order of the log."""
    writer = ArchiveWriter(home, "shop", PREDICTIONS, partition)
    for group in files:
        offsets = range(writer.next_offset, writer.next_offset + len(group))
        table = predictions_table(group, partition, offsets, [0] * len(group))
        writer.write(table, offsets.stop)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Which files' ends were looked at, and which files' rows."""
    found: dict[str, list[Any]] = {"ends": [], "rows": []}
    ends, rows = lookup.ends, predictions.stream_files

    def looked(path: Path, column: str) -> Any:
        found["ends"].append(path)
        return ends(path, column)

    def read(paths: Sequence[Path], *rest: Any) -> Any:
        found["rows"] += paths
        return rows(paths, *rest)

    monkeypatch.setattr(lookup, "ends", looked)
    monkeypatch.setattr(predictions, "stream_files", read)
    return found


def test_an_id_says_when_it_was_made() -> None:
    """One of another kind does not."""
    assert START + 7 == made_ms(timed(7))
    assert [None] * 4 == [made_ms(each) for each in (RANDOM, "p3", "", timed(7) + "0")]


def test_few_of_many_files_are_looked_at(tmp_path: Path, opened: dict[str, list[Any]]) -> None:
    """Whether or not the id is there; rows are read of the file that holds it alone."""
    archive(tmp_path, [[made(10 * MINUTE * n)] for n in range(100)])
    found = find_prediction(tmp_path, "shop", timed(10 * MINUTE * 41))
    assert found is not None and 41 == found.offset
    assert 1 == len({path.name for path in opened["rows"]})
    opened["rows"].clear()
    assert find_prediction(tmp_path, "shop", timed(10 * MINUTE * 41 + 5)) is None
    assert [] == opened["rows"]
    assert len(opened["ends"]) < 30


def test_an_id_of_now_asks_for_the_newest_files_alone(
    tmp_path: Path, opened: dict[str, list[Any]]
) -> None:
    """It is not archived yet."""
    archive(tmp_path, [[made(10 * MINUTE * n)] for n in range(32)])
    assert find_prediction(tmp_path, "shop", timed(DAY_MS)) is None
    assert len(opened["ends"]) < 8


@pytest.mark.parametrize("wanted", [0, 3_000, 9_000, 40_000, 41_000, 70_000])
def test_clocks_may_differ(tmp_path: Path, wanted: int) -> None:
    """A process whose clock is behind logs among later ones."""
    groups = [[0, 40_000], [3_000, 9_000], [41_000], [12_000], [70_000, 30_000]]
    archive(tmp_path, [[made(ms) for ms in group] for group in groups])
    assert find_prediction(tmp_path, "shop", timed(wanted)) is not None


def test_what_came_late_is_found(tmp_path: Path) -> None:
    """Its api had lost the broker for a while."""
    late = [made(5_000), made(50 * MINUTE)]
    archive(tmp_path, [[made(MINUTE * n)] for n in range(50)] + [late])
    found = find_prediction(tmp_path, "shop", timed(5_000))
    assert found is not None and 50 == found.offset


def test_every_partition_and_date_is_looked_through(tmp_path: Path) -> None:
    """Files lie by the request's own time, whenever it was scored."""
    archive(tmp_path, [[made(1), made(2, request_ms=-9 * DAY_MS)], [made(DAY_MS)]])
    archive(tmp_path, [[made(3, request_ms=-DAY_MS)], [made(4, request_ms=-40 * DAY_MS)]], 1)
    ids = [timed(ms) for ms in (1, 2, 3, 4, DAY_MS)]
    found = find_predictions(tmp_path, "shop", [*ids, timed(5)])
    assert set(ids) == set(found)
    assert (1, 1) == (found[timed(4)].partition, found[timed(4)].offset)


def test_an_id_without_a_time_is_found_too(tmp_path: Path, opened: dict[str, list[Any]]) -> None:
    """Among ids of its kind, beside others; one that no file can hold reads no row."""
    archive(tmp_path, [[made(0, RANDOM), made(1, "f" * 32)], [made(2), made(3)]])
    found = find_predictions(tmp_path, "shop", [RANDOM, timed(3)])
    assert {RANDOM, timed(3)} == set(found)
    opened["rows"].clear()
    assert find_prediction(tmp_path, "shop", "zzz") is None
    assert [] == opened["rows"]


def test_a_file_that_does_not_say_is_looked_into(tmp_path: Path) -> None:
    """Its end has no statistics."""
    archive(tmp_path, [[made(MINUTE * n)] for n in range(8)])
    for path in tmp_path.rglob("*.parquet"):
        pq.write_table(pq.ParquetFile(path).read(), path, write_statistics=False)
    for ms in (0, 3 * MINUTE, 7 * MINUTE):
        assert find_prediction(tmp_path, "shop", timed(ms)) is not None
    assert find_prediction(tmp_path, "shop", timed(9)) is None
