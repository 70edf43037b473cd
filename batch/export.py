"""A training set as one Parquet file: for a data scientist, and for tools of other languages."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch.dataset import Dataset
from tidemill.schema import FeatureSchema

COLUMNS = ("time", "key", "label", "label_time")


def write_dataset(data: Dataset, schema: FeatureSchema, path: Path) -> None:
    """Write one row per example, in the order of their labels; whole or not at all.

    Columns: time and label_time (timestamps, ms, UTC), key, label, and each feature as float32 with
    NaN for missing. A feature that is named as one of the others gets `feature_` before its name.
    The file's metadata names the schema. Raises OSError.
    """
    moment = pa.timestamp("ms", "UTC")
    arrays = [
        pa.array(data.times).cast(moment),
        pa.array(data.keys, pa.string()),
        pa.array(data.labels),
        pa.array(data.label_times).cast(moment),
        *(pa.array(data.vectors[:, place]) for place in range(len(schema.names))),
    ]
    names = [f"feature_{name}" if name in COLUMNS else name for name in schema.names]
    table = pa.table(arrays, names=[*COLUMNS, *names])
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(
            table.replace_schema_metadata({"tidemill_schema": schema.hash}),
            staging,
            compression="zstd",
            use_dictionary=["key"],
        )
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
