"""FastAPI with Feast's SDK on its Redis online store, and LightGBM.

The SDK's read is a blocking call. It is made on the event loop: there is one core, so FastAPI's
thread pool could only add to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from bench.peers.feast_store import Table, open_store
from bench.peers.serving import ENTITIES, Serve, Values, load_model, run_app


class Asked(BaseModel):
    """The request."""

    card: str
    shop: str


class Answer(BaseModel):
    """The answer."""

    score: float


def table_of(values: Values, entity: str) -> Table:
    """An entity's features, by its keys."""
    matrix, keys = getattr(values, entity), getattr(values, f"{entity}_keys")
    names = [f"{entity}_{place}" for place in range(matrix.shape[1])]
    return Table(entity, entity, keys, names, matrix)


def make_app(task: Serve) -> FastAPI:
    """The application."""
    app, model, values = FastAPI(), load_model(task), Values.read(task.values)
    tables = [table_of(values, entity) for entity in ENTITIES]
    store = open_store(Path(task.folder), task.redis, tables)
    columns = [name for table in tables for name in table.names]
    features = [reference for table in tables for reference in table.references]

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
