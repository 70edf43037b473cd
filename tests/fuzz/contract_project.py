"""The service that the contract is tested on: a small project with a release and some payments."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np

import tidemill as tm

payment = tm.Event("payment", key="card", fields={"card": str, "shop": str, "amount": float})
request = tm.Request({"card": str, "shop": str | None, "amount": float, "count": int, "new": bool})
card = tm.Entity("card", ("card",))

project = tm.Project(
    name="contract",
    events=(payment,),
    request=request,
    features=(
        tm.Window("paid", payment, ("count", "sum"), (card,), ("1h", "24h"), of=payment.amount),
        tm.RequestFeature("amount", request.amount),
        tm.RequestFeature("count", request.count),
    ),
    label=tm.Label(wait="1d"),
)


def prepare(file: Path, home: Path, redis_url: str) -> str:
    """Publish a release, store one card's payments and make a key of every scope; its text."""
    import lightgbm

    from cli.wiring import names_of, registry_of
    from features.plan import compile_plan
    from features.redis.client import redis_client
    from features.redis.store import RedisStore
    from features.replay import Replayer
    from learners.release import TREES_FILE, ModelFile, release_files
    from tidemill.api_keys import SCOPES, KeyFile, KeyRequest
    from tidemill.loading import load_project
    from tidemill.registry import Manifest
    from tidemill.settings import Settings

    now_ms = time.time_ns() // 1_000_000
    plan = compile_plan(load_project(file))
    settings = Settings(home=home, partitions=1)
    random, schema = np.random.default_rng(1), plan.schema
    matrix = random.normal(50, 30, (600, len(schema.names))).astype(np.float32)
    data = lightgbm.Dataset(matrix, matrix[:, -1] > 50, feature_name=list(schema.names))
    parameters = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1}
    text = lightgbm.train(parameters, data, 10).model_to_string().encode()
    manifest = Manifest(
        "r0001", project.name, schema.hash, list(schema.names), now_ms, 0, 0, 600, {}, {}, {}, {}
    )
    registry = registry_of(settings, project.name)
    for name in ("r0001", "r0002"):
        registry.publish(
            Manifest(name, *[getattr(manifest, f) for f in manifest.__struct_fields__[1:]]),
            release_files(ModelFile(TREES_FILE, text)),
        )
    replayer, names = Replayer(plan), names_of(plan, settings)
    columns = {
        "time": now_ms - np.arange(10, 0, -1, dtype=np.int64) * 60_000,
        "card": np.array(["A1"] * 10, object), "shop": np.array(["s1"] * 10, object),
        "amount": np.arange(10.0),
    }  # fmt: skip
    replayer.apply("payment", columns)

    async def fill() -> None:
        client = redis_client(redis_url)
        await RedisStore(client).write(
            [
                (names.blob(names.entity_partition(key), entity, key), blob)
                for entity, key, blob in replayer.blobs()
            ]
        )
        await client.aclose()

    asyncio.run(fill())
    return KeyFile(home, project.name).create(KeyRequest("contract", list(SCOPES)), "me", now_ms)[1]
