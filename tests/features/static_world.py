"""A project with static rows, files for it, and a store in memory, shared by their tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from features.decoding import RequestDecoder
from features.plan import compile_plan
from features.static.file import StaticFile
from features.static.load import Loaded, MemoryTables, StaticLoader, StaticTables
from features.static.rows import static_plans
from features.store import MemoryStore, OnlineStore
from features.vectors import VectorReader
from tidemill import (
    DerivedFeature,
    Entity,
    Event,
    Label,
    Project,
    Request,
    RequestFeature,
    StaticRow,
    Window,
    column,
)
from tidemill.clock import FakeClock
from tidemill.topics import Names

NOW = 1_700_000_000_000
NAMES = Names("shop", 4)
request = Request({"user": str, "device": int | None, "amount": float})
payment = Event("payment", "user", {"user": str, "amount": float})
user = Entity("user", ("user",))
pair = Entity("pair", ("user", "device"))
profile = StaticRow("profile", user, {"age": 1, "embedding": 3})
limits = StaticRow("limits", pair, ("low", "high"))
project = Project(
    "shop",
    (payment,),
    request,
    (
        profile,
        Window("spent", payment, ("count",), (user,), ("1h",)),
        limits,
        RequestFeature("amount", request.amount),
        DerivedFeature("share", column("amount") / column("limits_high")),
    ),
    Label(("user",), "1h"),
)
PLAN = compile_plan(project)
PROFILE, LIMITS = static_plans(project)
DECODER = RequestDecoder(project, FakeClock(NOW), 3_600_000)


def requests(*rows: dict[str, Any]) -> list[Any]:
    """Requests as the api decodes them."""
    good = {"user": "a", "device": 1, "amount": 8.0, "time": NOW}
    return DECODER.decode_batch(msgspec.json.encode({"requests": [good | row for row in rows]}))


def profiles(rows: Iterable[tuple[str | None, Any, Any]]) -> pa.Table:
    """A file's table: user, age, embedding."""
    users, ages, embeddings = zip(*rows, strict=True) if (rows := list(rows)) else ((), (), ())
    return pa.table(
        {
            "user": pa.array(users, pa.string()),
            "age": pa.array(ages, pa.float64()),
            "embedding": pa.array(embeddings, pa.list_(pa.float32())),
        }
    )


def saved(folder: Path, table: pa.Table, name: str = "rows.parquet") -> Path:
    """The table as a file."""
    pq.write_table(table, folder / name)
    return folder / name


class World:
    """A store with its tables, what loads them and what reads them."""

    def __init__(
        self, store: OnlineStore | None = None, tables: StaticTables | None = None
    ) -> None:
        self.memory = MemoryStore()
        self.store = store or self.memory
        self.clock = FakeClock(NOW)
        self.tables = tables or MemoryTables(NAMES, self.memory)
        self.loader = StaticLoader(NAMES, self.store, self.tables, self.clock)
        self.loader.grace_seconds = 0.0
        self.reader = VectorReader(PLAN, NAMES, self.store, deadline_ms=10_000)

    async def load(self, path: Path, plan: Any = PROFILE) -> Loaded:
        """Load one file."""
        file = StaticFile(path, plan.row, request)
        return await self.loader.load(file, plan, lambda _: None)

    async def profile(self, *users: str) -> list[list[float]]:
        """The profile features of these users, read as one group."""
        vectors = await self.reader.read(requests(*({"user": name} for name in users)))
        return vectors.matrix[:, : PROFILE.floats].tolist()
