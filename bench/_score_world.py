"""What every service of `bench score` scores with: broker, store, fifty features, one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._cores import Cores, on
from bench._worker import KAFKA_PARTITIONS, PROJECTS
from bench.peers.serving import Values
from cli.kafka_bus import end_offsets
from cli.services.embedded import Endpoints
from cli.services.kafka import LocalKafka
from cli.services.tansu import SUITABLE, EmbeddedBroker
from cli.services.valkey import EmbeddedValkey
from cli.wiring import names_of, registry_of
from features.plan import FeaturePlan, compile_plan
from features.redis.client import redis_client
from features.redis.store import RedisStore
from features.replay import Replayer
from learners.release import TREES_FILE, ModelFile, release_files
from tidemill.api_keys import KeyFile, KeyRequest
from tidemill.durations import MINUTE_MS
from tidemill.loading import load_project
from tidemill.registry import Manifest
from tidemill.settings import Settings
from tidemill.topics import PREDICTIONS, Names

PROJECT = PROJECTS / "fifty_features.py"
TIME_MS = 1_700_000_000_000
TREES, LEAVES, TRAINING_ROWS = 200, 63, 20_000
CARDS, SHOPS, PAYMENTS, ASKED = 1_000, 200, 20_000, 1_000
RELEASE = "r0001"

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """Everything is loaded: `pairs` of card and shop can be scored, as of `TIME_MS`.

    `model` is LightGBM's text, `values` the features of every card and shop for the peers, `key`
    one that may score at the api.
    """

    folder: Path
    file: Path
    plan: FeaturePlan
    names: Names
    endpoints: Endpoints
    settings: Mapping[str, str]
    model: Path
    values: Path
    pairs: list[tuple[str, str]]
    vectors: Vectors
    key: str
    apache: bool

    @property
    def redis_address(self) -> str:
        """The store's host:port."""
        return self.endpoints.redis.removeprefix("redis://").partition("/")[0]

    def logged(self) -> int:
        """Predictions in the log; the embedded broker knows too low a number."""
        broker = self.endpoints.kafka
        return sum(asyncio.run(end_offsets(broker, self.names, PREDICTIONS)).values())


@contextmanager
def make_world(folder: Path, kafka_home: Path | None, cores: Cores) -> Iterator[World]:
    """Start broker and store on the core of all else, and load them."""
    with ExitStack() as stack:
        with on(cores.others):
            store = stack.enter_context(EmbeddedValkey(folder / "valkey", forget=True))
            broker: LocalKafka | EmbeddedBroker = (
                LocalKafka(kafka_home, folder / "kafka")
                if kafka_home
                else EmbeddedBroker(folder / "broker")
            )
            stack.enter_context(broker)
        endpoints = Endpoints(broker.address, store.url)
        yield _loaded(folder, endpoints, apache=kafka_home is not None)


def _loaded(folder: Path, endpoints: Endpoints, *, apache: bool) -> World:
    plan = compile_plan(load_project(PROJECT))
    partitions = KAFKA_PARTITIONS if apache else SUITABLE["partitions"]
    settings = Settings(partitions=partitions, home=folder / "home")
    names = names_of(plan, settings)
    told = {
        "TIDEMILL_KAFKA": endpoints.kafka, "TIDEMILL_REDIS": endpoints.redis,
        "TIDEMILL_HOME": str(settings.home), "TIDEMILL_PARTITIONS": str(partitions),
    }  # fmt: skip
    replayer, pairs = replayed(plan), asked_pairs()
    values = values_of(replayer)
    values.write(folder / "values.npz")
    asyncio.run(_fill(endpoints.redis, names, replayer, values))
    text = train(values, plan)
    (folder / "model.txt").write_bytes(text)
    schema = plan.schema
    manifest = Manifest(
        RELEASE, plan.project.name, schema.hash, list(schema.names), 0, 0, 0, 1, {}, {}, {}, {}
    )
    registry_of(settings, plan.project.name).publish(
        manifest, release_files(ModelFile(TREES_FILE, text))
    )
    request = KeyRequest("bench", ["score"])
    _, key = KeyFile(settings.home, plan.project.name).create(request, "bench", _now_ms())
    vectors = vectors_of(replayer, pairs)
    return World(
        folder, PROJECT, plan, names, endpoints, told, folder / "model.txt",
        folder / "values.npz", pairs, vectors, key, apache,
    )  # fmt: skip


def cards_and_shops() -> tuple[list[str], list[str]]:
    """The keys."""
    return [f"c{number}" for number in range(CARDS)], [f"s{number}" for number in range(SHOPS)]


def asked_pairs() -> list[tuple[str, str]]:
    """A thousand pairs of a card and a shop, each pair once."""
    every = list(product(*cards_and_shops()))
    chosen = np.random.default_rng(3).choice(len(every), ASKED, replace=False)
    return [every[place] for place in chosen.tolist()]


def replayed(plan: FeaturePlan) -> Replayer:
    """A day of payments: each card and shop has some in every one of its windows."""
    random, replayer = np.random.default_rng(7), Replayer(plan)
    places = np.arange(PAYMENTS)
    # The last of each card and shop within the hour, the others over the day before.
    recent = places >= PAYMENTS - max(CARDS, SHOPS)
    minutes = np.where(
        recent, random.integers(1, 50, PAYMENTS), random.integers(50, 1_400, PAYMENTS)
    )
    times = np.sort(TIME_MS - minutes.astype(np.int64) * MINUTE_MS)
    cards, shops = cards_and_shops()
    columns: dict[str, NDArray[Any]] = {
        "time": times,
        "card": np.array([cards[place % CARDS] for place in places], object),
        "shop": np.array([shops[place % SHOPS] for place in places], object),
        "amount": np.round(random.lognormal(3, 1, PAYMENTS), 2),
    }
    replayer.apply("payment", columns)
    return replayer


def vectors_of(replayer: Replayer, pairs: list[tuple[str, str]]) -> Vectors:
    """What the api computes for some pairs."""
    columns: dict[str, NDArray[Any]] = {
        "card": np.array([card for card, _ in pairs], object),
        "shop": np.array([shop for _, shop in pairs], object),
        "time": np.full(len(pairs), TIME_MS, np.int64),
    }
    return replayer.vectors(columns)


def values_of(replayer: Replayer) -> Values:
    """The same numbers by card and by shop, as a batch job would have written them."""
    names = replayer.plan.schema.names
    of_card = [place for place, name in enumerate(names) if "_card_" in name]
    of_shop = [place for place, name in enumerate(names) if "_shop_" in name]
    if of_card + of_shop != list(range(len(names))):
        raise ValueError(f"features: found {names}; allowed: the card's, then the shop's")
    cards, shops = cards_and_shops()
    by_card = vectors_of(replayer, [(card, shops[0]) for card in cards])
    by_shop = vectors_of(replayer, [(cards[0], shop) for shop in shops])
    return Values(cards, shops, by_card[:, of_card], by_shop[:, of_shop])


def train(values: Values, plan: FeaturePlan) -> bytes:
    """Trees on vectors like those that are scored, so that they are walked as real ones are."""
    import lightgbm

    random = np.random.default_rng(7)
    parts = [
        each[random.integers(0, len(each), TRAINING_ROWS)] for each in (values.card, values.shop)
    ]
    matrix = np.concatenate(parts, axis=1) * random.lognormal(0, 0.3, (TRAINING_ROWS, 1))
    matrix = (matrix * random.lognormal(0, 0.1, matrix.shape)).astype(np.float32)
    labels = np.log1p(matrix[:, ::7]).sum(axis=1) + random.normal(0, 1, TRAINING_ROWS)
    names = list(plan.schema.names)
    data = lightgbm.Dataset(matrix, labels > np.median(labels), feature_name=names)
    parameters = {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 2}
    booster = lightgbm.train(parameters, data, TREES)
    return bytes(booster.model_to_string().encode())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _fill(url: str, names: Names, replayer: Replayer, values: Values) -> None:
    """The entities' blobs for the api, the packed rows for the peers."""
    client = redis_client(url)
    store = RedisStore(client)
    try:
        await store.write(
            [
                (names.blob(names.entity_partition(key), entity, key), blob)
                for entity, key, blob in replayer.blobs()
            ]
        )
        await client.mset(values.rows())
    finally:
        await client.aclose()
