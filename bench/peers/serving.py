"""What the services that `bench score` compares with share: their task, and the rows in the store.

A row is the float32 features of one entity, packed, under one key: what a careful user of redis-py
writes, and less to read and decode than a hash of fifty fields.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENTITIES = ("card", "shop")
MOST_CONNECTIONS = 1_000
TASK = "BENCH_TASK"  # for frameworks that start processes of their own


@dataclass(frozen=True)
class Serve:
    """Listen on `port` of loopback and answer with the model's score of a card and a shop.

    `redis` is the store's host:port, `model` LightGBM's text, `values` an npz with `card` and
    `shop`, (keys, features) float32 each, and their keys as `card_keys` and `shop_keys`; `folder`
    is the service's own.
    """

    port: int
    redis: str
    model: str
    values: str
    folder: str

    @classmethod
    def from_arguments(cls) -> Serve:
        """The task in the program's only argument, kept for processes that it starts."""
        os.environ[TASK] = sys.argv[1]
        return cls.from_environment()

    @classmethod
    def from_environment(cls) -> Serve:
        """The task of the process that started this one."""
        return cls(**json.loads(os.environ[TASK]))

    @property
    def url(self) -> str:
        """The store; redis-py by itself fails where it would need more than 100 connections."""
        return f"redis://{self.redis}/0?max_connections={MOST_CONNECTIONS}"

    def argument(self) -> str:
        """As a program's only argument."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Values:
    """The features of every card and shop; a vector is the card's, then the shop's."""

    card_keys: list[str]
    shop_keys: list[str]
    card: NDArray[np.float32]
    shop: NDArray[np.float32]

    @classmethod
    def read(cls, file: str) -> Values:
        """From the task's npz."""
        with np.load(file) as found:
            cards, shops = (found[name].tolist() for name in ("card_keys", "shop_keys"))
            return cls(cards, shops, found["card"], found["shop"])

    def write(self, file: Path) -> None:
        """As an npz without pickle."""
        np.savez(
            file, card_keys=np.array(self.card_keys), shop_keys=np.array(self.shop_keys),
            card=self.card, shop=self.shop,
        )  # fmt: skip

    def rows(self) -> dict[str, bytes]:
        """The rows as they are stored for redis-py."""
        found = {key_of("card", key): self.card[i] for i, key in enumerate(self.card_keys)}
        found |= {key_of("shop", key): self.shop[i] for i, key in enumerate(self.shop_keys)}
        return {key: row.astype("<f4").tobytes() for key, row in found.items()}


def key_of(entity: str, key: str) -> str:
    """Where the row of an entity is stored."""
    return f"row:{entity}:{key}"


def keys_of(card: str, shop: str) -> tuple[str, str]:
    """Where the two rows of a request are stored."""
    return key_of("card", card), key_of("shop", shop)


def vectors(rows: Sequence[Any]) -> NDArray[np.float32]:
    """The vectors (requests, features) of rows as the store gave them, two a request."""
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows) // len(ENTITIES), -1)


def load_model(task: Serve) -> Any:
    """The LightGBM model. `predict` is told of one thread: for one row more cost milliseconds."""
    import lightgbm

    return lightgbm.Booster(model_file=task.model)


def run_app(app: Any, port: int) -> None:
    """Serve an ASGI application as fast as uvicorn does."""
    import uvicorn

    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", ws="none",
        access_log=False, log_level="warning", server_header=False, date_header=False,
    )  # fmt: skip
