"""FastAPI with redis-py and LightGBM: a pydantic route that awaits one MGET and predicts."""

from __future__ import annotations

import redis.asyncio
from fastapi import FastAPI
from pydantic import BaseModel

from bench.peers.serving import Serve, keys_of, load_model, run_app, vectors


class Asked(BaseModel):
    """The request."""

    card: str
    shop: str


class Answer(BaseModel):
    """The answer."""

    score: float


def make_app(task: Serve) -> FastAPI:
    """The application."""
    app, model = FastAPI(), load_model(task)
    store = redis.asyncio.Redis.from_url(task.url)

    @app.post("/score")
    async def score(asked: Asked) -> Answer:
        rows = await store.mget(keys_of(asked.card, asked.shop))
        return Answer(score=float(model.predict(vectors(rows), num_threads=1)[0]))

    return app


def main() -> None:
    """Serve until SIGTERM."""
    task = Serve.from_arguments()
    run_app(make_app(task), task.port)


if __name__ == "__main__":
    main()
