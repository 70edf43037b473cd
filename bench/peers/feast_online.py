"""Feast's SDK on its Redis online store: get_online_features of many entities, to a dictionary."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float32, Int64
from feast.value_type import ValueType

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
_VIEW = "row"


def open_store(task: dict[str, Any], values: np.ndarray[Any, Any]) -> FeatureStore:
    """A store whose online part holds the values; made on the first call."""
    folder = Path(task["folder"])
    made = folder.exists()
    folder.mkdir(exist_ok=True)
    (folder / "feature_store.yaml").write_text(_CONFIGURATION.format(**task))
    store = FeatureStore(repo_path=str(folder))
    if not made:
        _load(store, folder, values)
    return store


def _load(store: FeatureStore, folder: Path, values: np.ndarray[Any, Any]) -> None:
    names = [f"values_{n}" for n in range(values.shape[1])]
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "user", np.arange(len(frame), dtype=np.int64))
    frame["event_timestamp"] = datetime.now(UTC)
    frame.to_parquet(folder / "rows.parquet")
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64)
    view = FeatureView(
        name=_VIEW, entities=[user], ttl=timedelta(days=1), online=True,
        schema=[Field(name="user", dtype=Int64)] + [Field(name=n, dtype=Float32) for n in names],
        source=FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp"),
    )  # fmt: skip
    store.apply([user, view])
    store.write_to_online_store(_VIEW, frame)


def main() -> None:
    """Read for so many seconds; tell the time of each read and the first answer."""
    task = json.loads(sys.argv[1])
    values = np.load(task["values"])
    store, batch = open_store(task, values), task["batch"]
    names = [f"{_VIEW}:values_{n}" for n in range(values.shape[1])]

    def read(first: int) -> dict[str, list[Any]]:
        rows = [{"user": first + n} for n in range(batch)]
        found: dict[str, list[Any]] = store.get_online_features(
            features=names, entity_rows=rows
        ).to_dict()
        return found

    answer = read(0)
    matrix = [[answer[f"values_{n}"][row] for n in range(len(names))] for row in range(batch)]
    taken: list[float] = []
    until = time.perf_counter() + task["seconds"]
    while (started := time.perf_counter()) < until:
        read(len(taken) * batch % (len(values) - batch + 1))
        taken.append((time.perf_counter() - started) * 1e6)
    Path(task["file"]).write_text(json.dumps({"us": taken, "answer": matrix}))


if __name__ == "__main__":
    main()
