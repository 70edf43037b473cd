"""BentoML with redis-py and LightGBM: a service of one worker with an asynchronous endpoint."""

from __future__ import annotations

import os
import sys

import bentoml
import redis.asyncio

from bench.peers.serving import Serve, keys_of, load_model, vectors


@bentoml.service(
    workers=1,
    traffic={"timeout": 10, "max_concurrency": 1_000},
    logging={"access": {"enabled": False}},  # of the others none writes a line for each request
)
class Scores:
    """The service; made once in the worker's process."""

    def __init__(self) -> None:
        task = Serve.from_environment()
        self.model, self.store = load_model(task), redis.asyncio.Redis.from_url(task.url)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def score(self, card: str, shop: str) -> dict[str, float]:
        """Read and score one request."""
        rows = await self.store.mget(keys_of(card, shop))
        return {"score": float(self.model.predict(vectors(rows), num_threads=1)[0])}


def main() -> None:
    """Become its own command, which serves until SIGTERM."""
    task = Serve.from_arguments()
    command = ("-m", "bentoml", "serve", "bench.peers.serve_bentoml:Scores")
    address = ("--host", "127.0.0.1", "--port", str(task.port))
    os.execv(sys.executable, (sys.executable, *command, *address))


if __name__ == "__main__":
    main()
