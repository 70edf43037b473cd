"""Static rows in the store: their packing, and reading them beside the windows in one round trip.

A row is twelve bytes of header (layout, number of floats, version) and its float32s. The keys of
its table carry the version; one pointer key names the version that counts, so that changing it
changes the whole table at once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.columns import distinct_keys, joined_blobs, joined_keys
from features.store import OnlineStore
from tidemill.declaration import Project
from tidemill.expressions import Columns
from tidemill.static_row import StaticRow
from tidemill.topics import Names

_HEADER = struct.Struct("<III")
_HEADER_WORDS = _HEADER.size // 4
_NO_ROW = np.array([-1])

StaticBlock = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Rows, float32 (rows, floats), and each request's row, int64 (requests,), -1 for none."""


@dataclass(frozen=True, slots=True)
class StaticPlan:
    """One declared static row and where in the vector its features begin."""

    row: StaticRow
    start: int
    floats: int
    layout: int

    @property
    def row_bytes(self) -> int:
        """The size of one stored row."""
        return _HEADER.size + 4 * self.floats

    def header(self, version: int) -> bytes:
        """What every row of a version begins with."""
        return _HEADER.pack(self.layout, self.floats, version)

    def encode(self, version: int, values: NDArray[np.float32]) -> list[bytes]:
        """Rows as they are stored, from float32 (rows, floats)."""
        words = np.empty((len(values), _HEADER_WORDS + self.floats), dtype="<f4")
        words[:, :_HEADER_WORDS] = np.frombuffer(self.header(version), "<f4")
        words[:, _HEADER_WORDS:] = values
        data, width = words.tobytes(), self.row_bytes
        return [data[start : start + width] for start in range(0, len(data), width)]

    def decode(self, version: int, blobs: Sequence[bytes | None]) -> StaticBlock:
        """Rows, and for each blob its row; -1 for one that is missing or not of this version."""
        header, width = self.header(version), self.row_bytes
        if whole := joined_blobs(blobs, width):
            words = np.frombuffer(whole, "<f4").reshape(len(blobs), -1)
            expected = np.frombuffer(header, "<u4")
            if (words.view("<u4")[:, :_HEADER_WORDS] == expected).all():
                return words[:, _HEADER_WORDS:], np.arange(len(blobs))
        good = [b is not None and len(b) == width and b.startswith(header) for b in blobs]
        data = b"".join([blob for blob, ok in zip(blobs, good, strict=True) if ok and blob])
        words = np.frombuffer(data, "<f4").reshape(-1, _HEADER_WORDS + self.floats)
        slots = np.where(good, np.cumsum(good, dtype=np.int64) - 1, -1).astype(np.int64)
        return words[:, _HEADER_WORDS:], slots


def static_plans(project: Project) -> tuple[StaticPlan, ...]:
    """The static rows of a project, each with its place in the vector."""
    plans, start = [], 0
    for feature in project.features:
        if isinstance(feature, StaticRow):
            plans.append(StaticPlan(feature, start, feature.floats, feature.layout))
            start += feature.floats
        else:
            start += len(feature.names)
    return tuple(plans)


def write_static(
    plans: Sequence[StaticPlan], blocks: Sequence[StaticBlock], matrix: NDArray[np.float32]
) -> None:
    """Write static features into their columns of the matrix; what has no row stays as it is."""
    for plan, (values, slots) in zip(plans, blocks, strict=True):
        own = matrix[:, plan.start : plan.start + plan.floats]
        seen = slots >= 0
        if seen.all():
            own[:] = values[slots]
        else:
            own[seen] = values[slots[seen]]


@dataclass(slots=True)
class Asked:
    """What a group of requests asks of one table: one version of it, whatever happens meanwhile."""

    plan: StaticPlan
    pointer: str
    version: int
    keys: list[str]
    slots: NDArray[np.int64]
    stored: list[str]


class StaticReader:
    """Asks for static rows together with the windows: pointers and rows in the same read.

    The version of the last answer is asked for; only after a load, when the pointer names another
    one, the rows are read a second time. All rows of one group are of one version.
    """

    def __init__(self, project: Project, names: Names) -> None:
        self.plans = static_plans(project)
        self._names = names
        self._versions = dict.fromkeys((plan.row.name for plan in self.plans), 0)

    def ask(self, columns: Columns) -> list[Asked]:
        """What to read for these requests."""
        return [self._ask(plan, columns) for plan in self.plans]

    def _ask(self, plan: StaticPlan, columns: Columns) -> Asked:
        keys, slots = distinct_keys(joined_keys(plan.row.by.keys, columns))
        pointer = self._names.static_live(plan.row.name, plan.layout)
        version = self._versions[plan.row.name]
        return Asked(plan, pointer, version, keys, slots, self._stored(plan, version, keys))

    def _stored(self, plan: StaticPlan, version: int, keys: Sequence[str]) -> list[str]:
        return self._names.static_rows(plan.row.name, version, keys) if version else []

    @staticmethod
    def keys(asked: Sequence[Asked]) -> list[str]:
        """The store keys of all that is asked, pointers included."""
        return [key for table in asked for key in (table.pointer, *table.stored)]

    async def blocks(
        self, asked: Sequence[Asked], found: Sequence[bytes | None], store: OnlineStore
    ) -> list[StaticBlock]:
        """The rows per table, from what was found at `keys`.

        Where a pointer names another version than the one asked for, that is read.
        """
        blocks, start = [], 0
        for table in asked:
            end = start + 1 + len(table.stored)
            pointer, blobs = found[start], found[start + 1 : end]
            start = end
            version = int(pointer) if pointer else 0
            if version != table.version:
                self._versions[table.plan.row.name] = version
                blobs = await store.read(self._stored(table.plan, version, table.keys))
            values, rows = table.plan.decode(version, blobs or [None] * len(table.keys))
            # The row appended last is the one of requests without the entity's key (slot -1).
            blocks.append((values, np.concatenate((rows, _NO_ROW))[table.slots]))
        return blocks

    async def read(self, store: OnlineStore, columns: Columns) -> list[StaticBlock]:
        """The rows alone, for a backfill. Raises StoreUnavailable."""
        asked = self.ask(columns)
        return await self.blocks(asked, await store.read(self.keys(asked)), store)
