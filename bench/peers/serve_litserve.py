"""LitServe with redis-py and LightGBM: one worker, batched as its documentation advises.

A batch is one MGET and one predict; requests wait for each other a millisecond at most.
"""

from __future__ import annotations

from typing import Any

import litserve
import numpy as np
import redis
from numpy.typing import NDArray

from bench.peers.serving import Serve, keys_of, load_model, vectors

BATCH, WAIT_SECONDS = 32, 0.001


class Scores(litserve.LitAPI):  # type: ignore[misc]
    """From a batch of requests to their scores."""

    def setup(self, device: str) -> None:
        """Once in the worker's process."""
        task = Serve.from_environment()
        self.model, self.store = load_model(task), redis.Redis.from_url(task.url)

    def decode_request(self, request: dict[str, str]) -> tuple[str, str]:
        """The keys of its rows."""
        return keys_of(request["card"], request["shop"])

    def batch(self, inputs: list[tuple[str, str]]) -> list[str]:
        """All keys of a batch."""
        return [key for keys in inputs for key in keys]

    def predict(self, keys: list[str]) -> NDArray[np.float64]:
        """Read and score a batch."""
        rows: Any = self.store.mget(keys)
        scores: NDArray[np.float64] = self.model.predict(vectors(rows), num_threads=1)
        return scores

    def unbatch(self, output: NDArray[np.float64]) -> list[float]:
        """A score for each request."""
        return [float(score) for score in output]

    def encode_response(self, output: float) -> dict[str, float]:
        """The answer."""
        return {"score": output}


def main() -> None:
    """Serve until SIGTERM."""
    task = Serve.from_arguments()
    api = Scores(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    # Its documentation advises the fast queue from a hundred requests a second on.
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1", port=task.port, num_api_servers=1, log_level="warning",
        generate_client_file=False, access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
