"""An archive of many examples, as a worker would have written it, made a day at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.archive.files import ARCHIVE_SCHEMAS, ArchiveWriter
from tidemill import Event, Gate, Label, Project, Request, RequestFeature, category
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.schema import schema_of
from tidemill.topics import EXAMPLES

NUMBERS, CATEGORIES = 24, 4
START_MS = 1_767_225_600_000
WRITE_ROWS = 50_000  # what a busy worker archives at once
CORRECTED, RESENT = 50, 997  # one example of so many is corrected later, or sent again


def project() -> Project:
    """24 numbers and 4 categories, labelled within two days."""
    names = [f"n{number}" for number in range(NUMBERS)]
    kinds = [f"c{number}" for number in range(CATEGORIES)]
    request = Request({**dict.fromkeys(names, float), **dict.fromkeys(kinds, str)})
    numbers = tuple(RequestFeature(name, request[name]) for name in names)
    codes = tuple(RequestFeature(n, category(request[n]), categorical=True) for n in kinds)
    return Project(
        name="bench",
        events=(Event("seen", key="c0", fields={"c0": str}),),
        request=request,
        features=numbers + codes,
        label=Label(wait="2d"),
        gate=Gate(holdout="7d"),
    )


def write_archive(home: Path, rows: int, days: int = 60) -> int:
    """Archive about `rows` examples of so many days; returns how many records that are.

    Of every 50 one is corrected some days later, of every 997 one is sent again.
    """
    writer = ArchiveWriter(home, "bench", EXAMPLES, 0)
    schema = schema_of(project()).hash
    offset = 0
    for begin in range(0, rows, WRITE_ROWS):
        numbers = np.arange(begin, min(begin + WRITE_ROWS, rows))
        corrects = numbers[numbers % CORRECTED == 0] - CORRECTED * 1_000
        again = numbers[numbers % RESENT == 1]
        numbers = np.concatenate([numbers, corrects[corrects >= 0], again])
        sequences = offset + 1 + np.arange(len(numbers))
        sequences[len(numbers) - len(again) :] = sequences[: len(numbers)][again - begin]
        kinds = np.full(len(numbers), "label", object)
        kinds[
            len(numbers) - len(again) - len(corrects[corrects >= 0]) : len(numbers) - len(again)
        ] = "correction"
        table = _table(numbers, kinds, days * DAY_MS / rows, schema)
        places = np.arange(offset, offset + len(numbers))
        table |= {"offset": pa.array(places), "sequence": pa.array(sequences)}
        columns = [table[name] for name in ARCHIVE_SCHEMAS[EXAMPLES].names]
        offset += len(numbers)
        writer.write(pa.Table.from_arrays(columns, schema=ARCHIVE_SCHEMAS[EXAMPLES]), offset)
    return offset


def _table(
    numbers: NDArray[np.int64], kinds: NDArray[np.object_], step_ms: float, schema: str
) -> dict[str, pa.Array]:
    """The columns of the examples of these predictions, but for their place in the log."""
    rows = len(numbers)
    random = np.random.default_rng(int(numbers[0]))
    vectors = random.normal(size=(rows, NUMBERS + CATEGORIES)).astype("<f4")
    vectors[:, :8] = random.poisson(3, (rows, 8))
    vectors[:, 8:12][random.random((rows, 4)) < 0.2] = np.nan
    vectors[:, NUMBERS:] = random.integers(0, 1000, (rows, CATEGORIES))
    times = START_MS + (numbers * step_ms).astype(np.int64)
    waited = random.integers(1, 47 * HOUR_MS, rows)
    waited[kinds == "correction"] += 2 * DAY_MS
    text = pa.array(numbers).cast(pa.string())
    ends = np.arange(rows + 1, dtype=np.int32) * vectors.shape[1] * 4
    body = pa.BinaryArray.from_buffers(
        pa.binary(), rows, [None, pa.py_buffer(ends), pa.py_buffer(vectors)]
    )
    request = pc.binary_join_element_wise('{"order":', text, ',"country":"DE","items":3}', "")
    return {
        "time": pa.array(times),
        "key": pc.binary_join_element_wise("order", text, "-"),
        "vector": body,
        "schema": pa.repeat(schema, rows),
        "label": pa.array((random.random(rows) < 0.1).astype(np.float64)),
        "label_time": pa.array(times + waited),
        "score": pa.array(random.random(rows)),
        "baseline": pa.array(random.random(rows)),
        "release": pa.repeat("r0001", rows),
        "snapshot": pa.array(numbers // 1000),
        "partition": pa.repeat(pa.scalar(0, pa.int32()), rows),
        "prediction_id": pc.binary_join_element_wise("prediction", text, "-"),
        "join_partition": pa.repeat(pa.scalar(0, pa.int32()), rows),
        "known_ms": pa.array(times + waited),
        "scored_ms": pa.array(times),
        "request": request.cast(pa.binary()),
        "weight": pa.repeat(1.0, rows),
        "sampled": pa.repeat(1.0, rows),
        "kind": pa.array(kinds, pa.string()),
        "producer": pa.repeat("", rows),
    }
