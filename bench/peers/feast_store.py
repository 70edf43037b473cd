"""A Feast store on Redis whose online part holds tables of float32 values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float32, Int64, String
from feast.value_type import ValueType
from numpy.typing import NDArray

_CONFIGURATION = """\
project: bench
registry: {folder}/registry.db
provider: local
online_store:
  type: redis
  connection_string: {redis}
offline_store:
  type: file
entity_key_serialization_version: 3
"""


@dataclass(frozen=True)
class Table:
    """A feature view: `values` (keys, features) with the names of its columns, by one `key`.

    The keys are numbers or texts.
    """

    view: str
    key: str
    keys: Sequence[int] | Sequence[str]
    names: Sequence[str]
    values: NDArray[np.float32]

    @property
    def references(self) -> list[str]:
        """What `get_online_features` calls its features."""
        return [f"{self.view}:{name}" for name in self.names]


def open_store(folder: Path, redis: str, tables: Sequence[Table]) -> FeatureStore:
    """The store in a folder; the first call there writes the tables to Redis (host:port)."""
    made = (folder / "registry.db").exists()
    folder.mkdir(exist_ok=True)
    text = _CONFIGURATION.format(folder=folder, redis=redis)
    (folder / "feature_store.yaml").write_text(text)
    store = FeatureStore(repo_path=str(folder))
    for table in () if made else tables:
        _write(store, folder, table)
    return store


def _write(store: FeatureStore, folder: Path, table: Table) -> None:
    frame = pd.DataFrame(table.values, columns=list(table.names))
    frame.insert(0, table.key, table.keys)
    frame["event_timestamp"] = datetime.now(UTC)
    file = folder / f"{table.view}.parquet"
    frame.to_parquet(file)
    is_text = isinstance(table.keys[0], str)
    kind, field = (ValueType.STRING, String) if is_text else (ValueType.INT64, Int64)
    key = Entity(name=table.key, join_keys=[table.key], value_type=kind)
    view = FeatureView(
        name=table.view, entities=[key], ttl=timedelta(days=1), online=True,
        schema=[Field(name=table.key, dtype=field)]
        + [Field(name=name, dtype=Float32) for name in table.names],
        source=FileSource(path=str(file), timestamp_field="event_timestamp"),
    )  # fmt: skip
    store.apply([key, view])
    store.write_to_online_store(table.view, frame)
