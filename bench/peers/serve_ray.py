"""Ray Serve with redis-py and LightGBM: one replica, which takes many requests at a time."""

from __future__ import annotations

import os
import time
from typing import Any

import ray
import redis.asyncio
from ray import serve
from starlette.requests import Request

from bench.peers.serving import Serve, keys_of, load_model, vectors


@serve.deployment(num_replicas=1, max_ongoing_requests=1_000, ray_actor_options={"num_cpus": 0.1})
class Scores:
    """The replica; made once in its own process."""

    def __init__(self, argument: dict[str, Any]) -> None:
        task = Serve(**argument)
        self.model, self.store = load_model(task), redis.asyncio.Redis.from_url(task.url)

    async def __call__(self, request: Request) -> dict[str, float]:
        """Read and score one request."""
        asked = await request.json()
        rows = await self.store.mget(keys_of(asked["card"], asked["shop"]))
        return {"score": float(self.model.predict(vectors(rows), num_threads=1)[0])}


def main() -> None:
    """Serve until SIGTERM."""
    task = Serve.from_arguments()
    os.environ["RAY_AUTH_MODE"] = "disabled"  # or it would keep a token in the home
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    ray.init(
        num_cpus=1, include_dashboard=False, object_store_memory=100 * 1024 * 1024,
        log_to_driver=False, _temp_dir=task.folder,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": task.port}, logging_config=quiet)
    application: Any = Scores
    serve.run(application.bind(vars(task)), route_prefix="/score", logging_config=quiet)
    while True:
        time.sleep(3_600)


if __name__ == "__main__":
    main()
