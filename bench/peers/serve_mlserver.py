"""MLServer with a runtime of our own on redis-py and LightGBM, asked by the inference protocol.

The runtime runs in the server's process (no pool of workers), which on one core is the shorter way.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import redis.asyncio
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from bench.peers.serving import Serve, keys_of, load_model, vectors

MODEL = "scores"


class Scores(MLModel):  # type: ignore[misc]
    """The runtime; inputs are `card` and `shop`, one string each."""

    async def load(self) -> bool:
        """Once in the server's process."""
        task = Serve.from_environment()
        self.scorer, self.store = load_model(task), redis.asyncio.Redis.from_url(task.url)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Read and score one request."""
        asked = {each.name: each.data[0] for each in payload.inputs}
        rows = await self.store.mget(keys_of(asked["card"], asked["shop"]))
        score = float(self.scorer.predict(vectors(rows), num_threads=1)[0])
        output = ResponseOutput(name="score", shape=[1], datatype="FP64", data=[score])
        return InferenceResponse(model_name=self.name, outputs=[output])


def settings_of(task: Serve, ports: tuple[int, int]) -> dict[str, object]:
    """The server's settings; it wants a port each for gRPC and metrics as well."""
    grpc, metrics = ports
    return {
        "host": "127.0.0.1", "http_port": task.port, "grpc_port": grpc, "metrics_port": metrics,
        "parallel_workers": 0, "debug": False, "use_structured_logging": False,
    }  # fmt: skip


def main() -> None:
    """Become its own command, which serves until SIGTERM."""
    task = Serve.from_arguments()
    folder = Path(task.folder)
    folder.mkdir(exist_ok=True)
    # The two ports behind its own: whoever took them, the server would say so and end.
    settings = settings_of(task, (task.port + 1, task.port + 2))
    model = {"name": MODEL, "implementation": "bench.peers.serve_mlserver.Scores"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = "from mlserver.cli import main; main()"
    os.execv(sys.executable, (sys.executable, "-c", command, "start", str(folder)))


if __name__ == "__main__":
    main()
