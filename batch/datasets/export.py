"""A training set as one Parquet file: for a data scientist, and for tools of other languages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch.datasets.manifest import DatasetManifest
from batch.datasets.parts import FACTS

COLUMNS = ("time", "key", "label", "label_time", "weight")


def write_dataset(manifest: DatasetManifest, parts: Iterable[pa.Table], path: Path) -> None:
    """Write one row per example, in the order of their labels; whole or not at all.

    Columns: time and label_time (timestamps, ms, UTC), key, label, weight, and each feature as
    float32 with NaN for missing. A feature that is named as one of the others gets `feature_`
    before its name. The file's metadata names the schema and the dataset. Raises OSError.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writer = None
    try:
        for part in parts:
            table = _for_export(part, manifest)
            if writer is None:
                writer = pq.ParquetWriter(
                    staging, table.schema, compression="zstd", use_dictionary=["key"]
                )
            writer.write_table(table)
        if writer is not None:
            writer.close()
            os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def _for_export(part: pa.Table, manifest: DatasetManifest) -> pa.Table:
    names = [f"feature_{name}" if name in COLUMNS else name for name in manifest.features]
    features = part.columns[len(FACTS) :]
    table = pa.table([*(part[name] for name in COLUMNS), *features], names=[*COLUMNS, *names])
    told = {"tidemill_schema": manifest.schema, "tidemill_dataset": manifest.id}
    return table.replace_schema_metadata(told)
