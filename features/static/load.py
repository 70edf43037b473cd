"""Load a static row's table: write a new version beside the one being served, then swap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from features.static.file import RowBatch, StaticFile
from features.static.rows import StaticPlan
from features.store import Commit, MemoryStore, OnlineStore
from tidemill.clock import Clock
from tidemill.durations import DAY_MS
from tidemill.errors import FencedError, InputError
from tidemill.topics import Names

GRACE_SECONDS = 2.0  # longer than any reader's deadline
KEEP_OTHER_MS = 7 * DAY_MS


class StaticTables(Protocol):
    """Where rows are written and removed. Both raise StoreUnavailable, and may wait."""

    async def add(self, rows: Sequence[tuple[str, bytes]]) -> int | None:
        """Set rows whose keys differ; returns the position of one whose key was there already.

        Then some of the others may not be set.
        """
        ...

    async def remove(self, row: str, until: int, keep: Collection[int]) -> int:
        """Remove the rows of versions up to `until` except `keep`; returns how many rows."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did: `bytes` are those of the stored rows without their keys."""

    row: str
    version: int
    rows: int
    bytes: int
    removed: int


class StaticLoader:
    """Loads files of static rows into the store, one table at a time.

    The fence of a table holds `epoch` (the version last begun) and, per layout of the declaration,
    `live:LAYOUT`, `loaded_ms:LAYOUT` and `rows:LAYOUT`. A load that another one overtakes is
    refused at its swap. The table of another declaration stays for 7 days after its last load, so
    that old and new processes can serve side by side.
    """

    def __init__(
        self, names: Names, store: OnlineStore, tables: StaticTables, clock: Clock
    ) -> None:
        self._names, self._store, self._tables, self._clock = names, store, tables, clock
        self.grace_seconds = GRACE_SECONDS

    async def load(
        self, file: StaticFile, plan: StaticPlan, advance: Callable[[int], None]
    ) -> Loaded:
        """Replace the table by the file's rows; `advance` gets the number of rows just written.

        Raises InputError for a file that does not fit, FencedError when another load began later,
        StoreUnavailable. Whatever is raised, and wherever the process dies, the version from before
        is served; what was written of the new one is removed now or by the next load.
        """
        fields = await self._store.claim(self._fence(plan))
        version, kept = fields["epoch"], _live(fields)
        if fields.get("cleaned", 0) != version - 1:  # a load before this one was killed
            await self._tables.remove(plan.row.name, version, kept)
        try:
            rows = await self._write(file, plan, version, advance)
        except InputError:
            await self._clean(plan, version, kept)
            raise
        left = await self._swap(plan, fields, rows)
        await asyncio.sleep(self.grace_seconds)
        removed = await self._clean(plan, version, left)
        return Loaded(plan.row.name, version, rows, rows * plan.row_bytes, removed)

    async def _clean(self, plan: StaticPlan, version: int, keep: Collection[int]) -> int:
        """Remove what is not served any more and remember that nothing was left behind."""
        removed = await self._tables.remove(plan.row.name, version, keep)
        with suppress(FencedError):  # a later load does this
            await self._store.commit(self._step(plan, version, {"cleaned": version}))
        return removed

    def _step(self, plan: StaticPlan, version: int, fields: Mapping[str, int]) -> Commit:
        side = self._names.side(f"static:{plan.row.name}", 0)
        return Commit(self._fence(plan), side, version, expected={}, fields=fields)

    async def _write(
        self, file: StaticFile, plan: StaticPlan, version: int, advance: Callable[[int], None]
    ) -> int:
        rows = 0
        for batch in file.batches():
            await self._check_owner(plan, version)
            await self._write_batch(file, plan, version, batch)
            rows += len(batch.keys)
            advance(len(batch.keys))
        return rows

    async def _write_batch(
        self, file: StaticFile, plan: StaticPlan, version: int, batch: RowBatch
    ) -> None:
        name, key_of = plan.row.name, self._names.static_row
        stored = [key_of(name, version, key) for key in batch.keys]
        blobs = plan.encode(version, batch.values)
        twice = _repeated(stored)
        if twice is None:
            twice = await self._tables.add(list(zip(stored, blobs, strict=True)))
        if twice is not None:
            columns, found = "+".join(plan.row.by.keys), repr(batch.keys[twice])
            allowed = "each key once (this one stands in an earlier row)"
            raise file.error(columns, found, allowed, batch.first_row + twice)

    async def _check_owner(self, plan: StaticPlan, version: int) -> None:
        fence = self._fence(plan)
        epoch = (await self._store.fence_fields([fence]))[0].get("epoch")
        if epoch != version:
            raise FencedError(
                f"static row {plan.row.name}: found epoch {epoch}, another load that began later; "
                f"allowed: {version}. The later one wins, nothing of this one is served"
            )

    async def _swap(self, plan: StaticPlan, fields: dict[str, int], rows: int) -> list[int]:
        """Let the new version be served; returns the versions that stay."""
        now, version, layout = self._clock.now_ms(), fields["epoch"], f"{plan.layout:08x}"
        live = {name.removeprefix("live:"): v for name, v in fields.items() if _is_live(name) and v}
        old = [
            other
            for other in live
            if other != layout and now - fields.get(f"loaded_ms:{other}", 0) > KEEP_OTHER_MS
        ]
        step = self._step(
            plan,
            version,
            {
                **{f"live:{other}": 0 for other in old},
                f"live:{layout}": version,
                f"loaded_ms:{layout}": now,
                f"rows:{layout}": rows,
            },
        )
        name, pointer = plan.row.name, self._names.static_live
        pointers = [(pointer(name, int(other, 16)), b"") for other in old]
        pointers.append((pointer(name, plan.layout), str(version).encode()))
        await self._store.commit(replace(step, blobs=pointers))
        return [version, *(v for name, v in live.items() if name != layout and name not in old)]

    def _fence(self, plan: StaticPlan) -> str:
        return self._names.fence(f"static:{plan.row.name}", 0)


def _repeated(keys: Sequence[str]) -> int | None:
    """The position of the first key that stands there before it as well, None without any."""
    if len(set(keys)) == len(keys):
        return None
    seen: set[str] = set()
    for position, key in enumerate(keys):
        if key in seen:
            return position
        seen.add(key)
    return None


def _is_live(name: str) -> bool:
    return name.startswith("live:")


def _live(fields: dict[str, int]) -> list[int]:
    """The versions some declaration is served."""
    return [version for name, version in fields.items() if _is_live(name) and version]


class MemoryTables:
    """The tables of a `MemoryStore`."""

    def __init__(self, names: Names, store: MemoryStore) -> None:
        self._names, self._blobs = names, store.blobs

    async def add(self, rows: Sequence[tuple[str, bytes]]) -> int | None:
        """Set rows whose keys are new."""
        for position, (key, _) in enumerate(rows):
            if key in self._blobs:
                return position
        self._blobs.update(rows)
        return None

    async def remove(self, row: str, until: int, keep: Collection[int]) -> int:
        """Remove the rows of versions up to `until` except `keep`."""
        gone = [key for key in self._blobs if is_retired(self._names, key, row, until, keep)]
        for key in gone:
            del self._blobs[key]
        return len(gone)


def is_retired(names: Names, key: str, row: str, until: int, keep: Collection[int]) -> bool:
    """True for the key of a row whose version is at most `until` and not to be kept."""
    version = names.static_version(row, key)
    return version is not None and version <= until and version not in keep
