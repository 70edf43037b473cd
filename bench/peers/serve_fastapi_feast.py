"""FastAPI with Feast's SDK on its Redis online store, and LightGBM.

The SDK's read is a blocking call. It is made on the event loop: there is one core, so FastAPI's
thread pool could only add to it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fastapi import FastAPI
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float32, String
from feast.value_type import ValueType
from numpy.typing import NDArray
from pydantic import BaseModel

from bench.peers.serving import ENTITIES, Serve, Values, load_model, run_app

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


class Asked(BaseModel):
    """The request."""

    card: str
    shop: str


class Answer(BaseModel):
    """The answer."""

    score: float


def names_of(values: NDArray[np.float32], entity: str) -> list[str]:
    """The names of an entity's features."""
    return [f"{entity}_{place}" for place in range(values.shape[1])]


def open_store(task: Serve, values: Values) -> FeatureStore:
    """A store whose online part holds the values; made when it is not there yet."""
    folder = Path(task.folder)
    made = (folder / "registry.db").exists()
    folder.mkdir(exist_ok=True)
    text = _CONFIGURATION.format(folder=folder, redis=task.redis)
    (folder / "feature_store.yaml").write_text(text)
    store = FeatureStore(repo_path=str(folder))
    if not made:
        _load(store, folder, values)
    return store


def _load(store: FeatureStore, folder: Path, values: Values) -> None:
    for entity in ENTITIES:
        matrix, keys = getattr(values, entity), getattr(values, f"{entity}_keys")
        names = names_of(matrix, entity)
        frame = pd.DataFrame(matrix, columns=names)
        frame.insert(0, entity, keys)
        frame["event_timestamp"] = datetime.now(UTC)
        file = folder / f"{entity}.parquet"
        frame.to_parquet(file)
        key = Entity(name=entity, join_keys=[entity], value_type=ValueType.STRING)
        view = FeatureView(
            name=entity, entities=[key], ttl=timedelta(days=1), online=True,
            schema=[Field(name=entity, dtype=String)]
            + [Field(name=name, dtype=Float32) for name in names],
            source=FileSource(path=str(file), timestamp_field="event_timestamp"),
        )  # fmt: skip
        store.apply([key, view])
        store.write_to_online_store(entity, frame)


def make_app(task: Serve) -> FastAPI:
    """The application."""
    app, model, values = FastAPI(), load_model(task), Values.read(task.values)
    store = open_store(task, values)
    columns = [name for each in ENTITIES for name in names_of(getattr(values, each), each)]
    features = [f"{name.split('_')[0]}:{name}" for name in columns]

    @app.post("/score")
    async def score(asked: Asked) -> Answer:
        row = {"card": asked.card, "shop": asked.shop}
        found: dict[str, list[Any]] = store.get_online_features(
            features=features, entity_rows=[row]
        ).to_dict()
        vector = np.array([[found[name][0] for name in columns]], np.float32)
        return Answer(score=float(model.predict(vector, num_threads=1)[0]))

    return app


def main() -> None:
    """Serve until SIGTERM."""
    task = Serve.from_arguments()
    run_app(make_app(task), task.port)


if __name__ == "__main__":
    main()
