"""Every record is archived once, whatever dies and whoever writes."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.archive import files as archive
from features.archive.files import (
    ARCHIVE_SCHEMAS,
    BACKFILL,
    ArchiveWriter,
    committed_files,
    continues_a_log,
    examples_table,
    predictions_table,
    read_archive,
    read_examples,
    stream_files,
)
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.errors import FencedError
from tidemill.topics import EVENTS, EXAMPLES, PREDICTIONS
from tidemill.wire import ArmScore, Example, Prediction

MAY_1_MS = 1_367_366_400_000


def prediction(offset: int, time: int) -> Prediction:
    """A prediction whose id is its offset."""
    vector = b"\0" * 8
    version = ("r0001", 2, time, b"{}")
    return Prediction(f"p{offset}", f"k{offset}", time, vector, "abc", 0.5, 0.4, *version)


def rows(offsets: range, time: int = MAY_1_MS) -> pa.Table:
    """Examples of these offsets, an hour apart."""
    examples = [
        Example(prediction(o, time + o * HOUR_MS), o % 2, time + o * HOUR_MS + 5, 0, 0, o)
        for o in offsets
    ]
    return examples_table(examples, 0, offsets, [0] * len(offsets))


def archived(home: Path) -> list[int]:
    """The offsets a reader sees, in order."""
    return sorted(read_examples(home, "p")["offset"].to_pylist())


class Killed(BaseException):
    """Stands for the process ending in the middle of a write."""


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    """What was written comes back equal, by date."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    table = rows(range(50))
    writer.write(table, 50)
    assert table == read_examples(tmp_path, "p")
    folders = [path.name for path in (tmp_path / "archive/project=p/topic=examples").iterdir()]
    assert ["date=2013-05-01", "date=2013-05-02", "date=2013-05-03"] == sorted(folders)
    names = {path.name for path in tmp_path.rglob("*.parquet")}
    assert {"0-000000000000-000000000049.parquet"} == names


def test_a_time_range_is_half_open(tmp_path: Path) -> None:
    """`from_ms` is inside, `to_ms` is not."""
    ArchiveWriter(tmp_path, "p", EXAMPLES, 0).write(rows(range(50)), 50)
    found = read_examples(tmp_path, "p", MAY_1_MS + 3 * HOUR_MS, MAY_1_MS + DAY_MS + HOUR_MS)
    assert list(range(3, 25)) == found["offset"].to_pylist()


@pytest.mark.parametrize("topic", [EVENTS, EXAMPLES, PREDICTIONS])
def test_no_archive_is_an_empty_one(tmp_path: Path, topic: str) -> None:
    """Reading what was never written gives no rows, with the topic's columns."""
    assert ARCHIVE_SCHEMAS[topic].empty_table() == read_archive(tmp_path, "p", topic)
    assert [] == list(tmp_path.iterdir())


def test_a_new_writer_goes_on_where_the_last_stopped(tmp_path: Path) -> None:
    """The committed offset is where a later process resumes."""
    first = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    assert 0 == first.next_offset
    first.write(rows(range(10)), 10)
    second = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    assert 10 == second.next_offset
    second.write(rows(range(10, 30)), 30)
    assert list(range(30)) == archived(tmp_path)


def test_an_archive_continues_a_log_once_it_has_read_of_it(tmp_path: Path) -> None:
    """Backfilled rows and a partition that was only opened belong to no log."""
    assert not continues_a_log(tmp_path)
    ArchiveWriter(tmp_path, "p", EXAMPLES, BACKFILL).write(rows(range(5)), 5)
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    assert not continues_a_log(tmp_path)
    writer.write(rows(range(5)), 5)
    assert continues_a_log(tmp_path)


def test_offsets_without_rows_are_passed(tmp_path: Path) -> None:
    """A batch in which nothing was to be kept still moves the offset on."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    writer.write(rows(range(0)), 7)
    assert 7 == ArchiveWriter(tmp_path, "p", EXAMPLES, 0).next_offset
    assert [] == archived(tmp_path)


@pytest.mark.parametrize("step", ["_write_parquet", "_write_commit", "replace"])
@pytest.mark.parametrize("calls", [1, 2])
def test_a_crash_neither_loses_nor_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, calls: int
) -> None:
    """Killed before any step of a write, then cut differently: each record is there once."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    writer.write(rows(range(10)), 10)
    owner = {"_write_parquet": archive, "_write_commit": ArchiveWriter, "replace": archive.os}[step]
    left = [calls]
    original = getattr(owner, step)

    def die(*arguments: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        original(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, step, die)
        writer.write(rows(range(10, 60)), 60)
        writer.write(rows(range(60, 70)), 70)
    resumed = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    assert list(range(resumed.next_offset)) == archived(tmp_path)
    resumed.write(rows(range(resumed.next_offset, 65)), 65)
    resumed.write(rows(range(65, 80)), 80)
    assert list(range(80)) == archived(tmp_path)
    assert [] == list(tmp_path.rglob("date=*/*.tmp"))


def test_readers_pass_over_what_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data files written before a crash are not seen, even before anyone cleans up."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    writer.write(rows(range(10)), 10)

    def die(*arguments: object) -> None:
        raise Killed

    monkeypatch.setattr(ArchiveWriter, "_write_commit", die)
    with pytest.raises(Killed):
        writer.write(rows(range(10, 60)), 60)
    assert 1 < len(list(tmp_path.rglob("0-000000000010-*.parquet")))
    assert list(range(10)) == archived(tmp_path)


def test_a_writer_that_was_replaced_is_refused(tmp_path: Path) -> None:
    """A process that still believes to own the partition writes nothing."""
    zombie = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    zombie.write(rows(range(10)), 10)
    owner = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    with pytest.raises(FencedError, match="examples-0.json: found .* allowed: "):
        zombie.write(rows(range(10, 15)), 15)
    owner.write(rows(range(10, 20)), 20)
    with pytest.raises(FencedError):
        zombie.write(rows(range(10, 15)), 15)
    owner.write(rows(range(20, 30)), 30)
    assert list(range(30)) == archived(tmp_path)


def test_partitions_are_written_apart(tmp_path: Path) -> None:
    """Another partition, backfill included, has its own offset and nobody's files are deleted."""
    ArchiveWriter(tmp_path, "p", EXAMPLES, 1).write(rows(range(5)), 5)
    ArchiveWriter(tmp_path, "p", EXAMPLES, 10).write(rows(range(10, 15)), 15)
    ArchiveWriter(tmp_path, "p", EXAMPLES, BACKFILL).write(rows(range(20, 30)), 10)
    assert 5 == ArchiveWriter(tmp_path, "p", EXAMPLES, 1).next_offset
    assert 10 == ArchiveWriter(tmp_path, "p", EXAMPLES, BACKFILL).next_offset
    assert [*range(5), *range(10, 15), *range(20, 30)] == archived(tmp_path)


def test_projects_and_topics_are_apart(tmp_path: Path) -> None:
    """Another project's or topic's records are not read."""
    ArchiveWriter(tmp_path, "q", EXAMPLES, 0).write(rows(range(5)), 5)
    predictions = [prediction(o, MAY_1_MS) for o in range(3)]
    table = predictions_table(predictions, 2, range(3), [7, 8, 9])
    ArchiveWriter(tmp_path, "p", PREDICTIONS, 2).write(table, 3)
    assert [] == archived(tmp_path)
    assert table == read_archive(tmp_path, "p", PREDICTIONS)
    assert [2, 2, 2] == table["partition"].to_pylist()
    assert [7, 8, 9] == table["known_ms"].to_pylist()


def test_events_are_kept_as_they_came(tmp_path: Path) -> None:
    """An event without id and key, and its bytes, come back unchanged."""
    columns = {
        "time": [MAY_1_MS, MAY_1_MS - 1],
        "event": ["departure", "weather"],
        "id": ["a", None],
        "key": [None, "JFK"],
        "body": [b'{"event": "departure"}', b"{}"],
        "partition": [3, 3],
        "offset": [8, 9],
        "known_ms": [MAY_1_MS, MAY_1_MS + 1],
    }
    table = pa.table(columns, schema=ARCHIVE_SCHEMAS[EVENTS])
    ArchiveWriter(tmp_path, "p", EVENTS, 3).write(table, 10)
    found = read_archive(tmp_path, "p", EVENTS).sort_by("offset")
    assert columns == found.to_pydict()


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A table with other columns, or an offset that does not move on, raises ValueError."""
    writer = ArchiveWriter(tmp_path, "p", EVENTS, 0)
    with pytest.raises(ValueError, match="table: found"):
        writer.write(rows(range(3)), 3)
    examples = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    with pytest.raises(ValueError, match="next_offset: found 0; allowed: > 0"):
        examples.write(rows(range(3)), 0)


def test_an_example_keeps_where_it_was_joined() -> None:
    """The topic's offset and the join's partition and sequence are apart, beside the prediction."""
    example = Example(prediction(7, MAY_1_MS), 1, MAY_1_MS + 5, 9, 3, 41)
    (row,) = examples_table([example], 0, [12], [MAY_1_MS + 6]).to_pylist()
    origin = {"partition": 0, "offset": 12, "join_partition": 3, "sequence": 41}
    assert origin.items() <= row.items()
    assert ("p7", "k7", 1, MAY_1_MS + 5) == (
        row["prediction_id"], row["key"], row["label"], row["label_time"]
    )  # fmt: skip
    assert (MAY_1_MS + 6, MAY_1_MS, b"{}") == (
        row["known_ms"], row["scored_ms"], row["request"]
    )  # fmt: skip


def test_an_example_keeps_what_it_weighs_and_whose_label_it_has() -> None:
    """A label may be any number."""
    example = Example(
        prediction(7, MAY_1_MS), 2.5, MAY_1_MS + 5, 9, 3, 41, 15.0, "correction", "billing", 10.0
    )
    (row,) = examples_table([example], 0, [12], [MAY_1_MS + 6]).to_pylist()
    expected = {"label": 2.5, "weight": 15.0, "sampled": 10.0}
    assert expected | {"kind": "correction", "producer": "billing"} == {
        name: row[name] for name in ("label", "weight", "sampled", "kind", "producer")
    }


def test_an_examples_score_is_the_champions() -> None:
    """Whoever answered; of what the default head answered there is none."""
    said = msgspec.structs.replace(
        prediction(3, MAY_1_MS), score=0.9, release="r0009", snapshot=4, arm="canary",
        arms=[ArmScore("r0001", 7, 2, 0.2)],
    )  # fmt: skip
    silent = msgspec.structs.replace(prediction(4, MAY_1_MS), arm="default")
    examples = [Example(each, 1, MAY_1_MS, MAY_1_MS, 0, 1) for each in (said, silent)]
    first, second = examples_table(examples, 0, [0, 1], [0, 0]).to_pylist()
    assert ("r0001", 7, 0.2) == (first["release"], first["snapshot"], first["score"])
    assert math.isnan(second["score"])
    (answered, _) = predictions_table([said, silent], 0, [3, 4], [0, 0]).to_pylist()
    assert ("r0009", 0.9) == (answered["release"], answered["score"])


def test_labels_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    """They were whole numbers of one byte, weighed 1 and came from nobody in particular."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    writer.write(rows(range(3)), 3)
    (path,) = tmp_path.rglob("*.parquet")
    table = pq.ParquetFile(path).read()
    table = table.drop_columns(["weight", "sampled", "kind", "producer"])
    place = table.schema.get_field_index("label")
    table = table.set_column(place, "label", table["label"].cast(pa.int8()))
    pq.write_table(table, path)
    writer.write(rows(range(3, 5)), 5)
    found = read_examples(tmp_path, "p")
    assert ARCHIVE_SCHEMAS[EXAMPLES] == found.schema
    assert [0, 1, 0, 1, 0] == found["label"].to_pylist()
    columns = ("weight", "sampled", "kind", "producer")
    assert [[1.0] * 5, [1.0] * 5, ["label"] * 5, [""] * 5] == [
        found[name].to_pylist() for name in columns
    ]


def test_an_archive_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Columns that its files do not have yet are null, and new files stand beside them."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    writer.write(rows(range(3)), 3)
    (path,) = tmp_path.rglob("*.parquet")
    added = ["known_ms", "scored_ms", "request"]
    pq.write_table(pq.ParquetFile(path).read().drop_columns(added), path)
    writer.write(rows(range(3, 5)), 5)
    found = read_examples(tmp_path, "p")
    assert ARCHIVE_SCHEMAS[EXAMPLES] == found.schema
    assert [None, None, None, 0, 0] == found["known_ms"].to_pylist()
    assert [None, None, None, b"{}", b"{}"] == found["request"].to_pylist()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_files_are_streamed_as_they_are_read(tmp_path: Path, size: int) -> None:
    """Some columns, in pieces of any size, in the order of `read_archive` and from a time on."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    for start in (0, 40):
        writer.write(rows(range(start, start + 40)), start + 40)
    since, columns = MAY_1_MS + 11 * HOUR_MS, ["time", "offset", "producer"]
    files = committed_files(tmp_path, "p", EXAMPLES, since)
    pieces = list(stream_files(files, EXAMPLES, columns, since, size))
    expected = read_examples(tmp_path, "p", since).select(pieces[0].column_names)
    assert (69, set(columns)) == (len(expected), set(expected.column_names))
    assert expected == pa.concat_tables(pieces)
    assert size > 40 or all(len(piece) < size + 25 for piece in pieces)


def test_what_is_not_committed_is_no_file_of_it(tmp_path: Path) -> None:
    """A writer that died before its commit has archived nothing."""
    writer = ArchiveWriter(tmp_path, "p", EXAMPLES, 0)
    writer.write(rows(range(3)), 3)
    (path,) = committed_files(tmp_path, "p", EXAMPLES)
    (path.parent / "0-000000000003-000000000004.parquet").write_bytes(b"half")
    assert [path] == committed_files(tmp_path, "p", EXAMPLES)
