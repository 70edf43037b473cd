"""Static rows read beside the windows: one round trip, one version, missing where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import static_world as world
from static_world import NAMES, PLAN, PROFILE, World

from features.replay import Replayer
from features.static.rows import StaticReader
from features.store import MemoryStore
from features.vectors import VectorReader
from tidemill.topics import Names

NAN = float("nan")
ROWS = [("a", 30.0, [1.0, 2.0, 3.0]), ("b", None, [4.0, 5.0, 6.0]), ("c", 1.0, None)]


class CountingStore(MemoryStore):
    """A store that remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[str]] = []

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read and remember."""
        self.reads.append(list(keys))
        return await super().read(keys)


async def test_rows_are_read_by_entity_and_missing_otherwise(tmp_path: Path) -> None:
    """Each request gets its entity's numbers; what the file left out is NaN."""
    here = World()
    await here.load(world.saved(tmp_path, world.profiles(ROWS)))
    expected = [[4.0, 5.0, 6.0], [1.0, 2.0, 3.0], [NAN] * 3, [NAN] * 3, [1.0, 2.0, 3.0]]
    found = await here.profile("b", "a", "c", "nobody", "a")
    np.testing.assert_array_equal(expected, [row[1:] for row in found])
    np.testing.assert_array_equal([NAN, 30.0, 1.0, NAN, 30.0], [row[0] for row in found])


async def test_without_a_load_everything_is_missing() -> None:
    """A table that was never loaded reads as NaN."""
    np.testing.assert_array_equal([[NAN] * 4], await World().profile("a"))


async def test_a_row_of_several_keys_and_what_derives_from_it(tmp_path: Path) -> None:
    """Composite keys match the request's, and derived features read static ones."""
    table = pa.table({"device": [7, 7], "user": ["a", "b"], "low": [1, 2], "high": [4, 16]})
    here = World()
    await here.load(world.saved(tmp_path, table), world.LIMITS)
    asked = (
        {"user": "a", "device": 7},
        {"user": "b", "device": 7},
        {"device": None},
        {"device": 8},
    )
    vectors = await here.reader.read(world.requests(*asked))
    place = PLAN.schema.names.index
    expected = [[1.0, 4.0, 2.0], [2.0, 16.0, 0.5], [NAN] * 3, [NAN] * 3]
    columns = [place("limits_low"), place("limits_high"), place("share")]
    np.testing.assert_array_equal(expected, vectors.matrix[:, columns])


async def test_windows_and_static_rows_cost_one_round_trip(tmp_path: Path) -> None:
    """Pointers, rows and windows come in one read; only a new version is worth a second one."""
    store = CountingStore()
    here = World(store)
    here.tables = world.MemoryTables(NAMES, store)
    here.loader = world.StaticLoader(NAMES, store, here.tables, here.clock)
    here.loader.grace_seconds = 0.0
    await here.load(world.saved(tmp_path, world.profiles(ROWS)))
    counts = []
    for _ in range(2):
        store.reads.clear()
        await here.profile("a", "b", "a")
        counts.append([len(read) for read in store.reads])
    windows, pointers, rows = 2, 2, 2
    assert [[windows + pointers, rows], [windows + pointers + rows]] == counts
    await here.load(world.saved(tmp_path, world.profiles([("a", 9.0, None)])))
    store.reads.clear()
    assert 9.0 == (await here.profile("a"))[0][0]
    assert [1 + 2 + 1, 1] == [len(read) for read in store.reads]


async def test_no_requests_have_no_rows(tmp_path: Path) -> None:
    """An empty group is answered without rows."""
    here = World()
    await here.load(world.saved(tmp_path, world.profiles(ROWS)))
    assert [] == await here.profile()


@pytest.mark.parametrize("damage", ["empty", "short", "layout", "version"])
async def test_a_row_that_cannot_be_read_is_missing(tmp_path: Path, damage: str) -> None:
    """A blob of another layout, length or version is never taken for numbers."""
    here = World()
    await here.load(world.saved(tmp_path, world.profiles(ROWS)))
    key = NAMES.static_row("profile", 1, "a")
    blob = here.memory.blobs[key]
    here.memory.blobs[key] = {
        "empty": b"",
        "short": blob[:-4],
        "layout": bytes([blob[0] ^ 1]) + blob[1:],
        "version": blob[:8] + bytes([blob[8] ^ 1]) + blob[9:],
    }[damage]
    found = await here.profile("a", "b")
    np.testing.assert_array_equal([[NAN] * 4, [NAN, 4.0, 5.0, 6.0]], found)


async def test_a_pointer_to_nothing_is_missing(tmp_path: Path) -> None:
    """A version whose rows are gone reads as NaN, not as an error."""
    here = World()
    here.memory.blobs[NAMES.static_live("profile", PROFILE.layout)] = b"7"
    np.testing.assert_array_equal([[NAN] * 4], await here.profile("a"))


async def test_replayed_vectors_equal_those_of_the_api(tmp_path: Path) -> None:
    """Given the rows of now, a backfill makes the same vectors; without them they are missing."""
    here = World()
    await here.load(world.saved(tmp_path, world.profiles(ROWS)))
    requests = world.requests({"user": "a"}, {"user": "z"}, {"user": "b"})
    columns = here.reader.assembler.columns(requests)
    online = await here.reader.read(requests)
    replayer = Replayer(PLAN)
    static = await StaticReader(world.project, NAMES).read(here.store, columns)
    np.testing.assert_array_equal(online.matrix, replayer.vectors(columns, static))
    assert np.isnan(replayer.vectors(columns)[:, : PROFILE.floats]).all()


def test_fifty_floats_take_at_most_three_hundred_bytes() -> None:
    """Header and numbers of a plain row are small."""
    plan = type(PROFILE)(PROFILE.row, 0, 50, 1)
    assert [212] == [len(blob) for blob in plan.encode(2**32 - 1, np.zeros((1, 50), np.float32))]


def test_an_entitys_key_is_never_taken_for_a_row() -> None:
    """Whatever an entity is called, only the keys of the table have a version."""
    names = Names("shop", 4, "abcd0123")
    cases = {
        names.static_row("profile", 12, "x:static:profile:3:y"): 12,
        names.static_row("profile", 12, ""): 12,
        names.static_row("profiles", 12, "x"): None,
        names.static_live("profile", 1): None,
        names.blob(1, "user", "x}:static:profile:3:y"): None,
        names.blob(1, "user", ":static:profile:3:y"): None,
        Names("other", 4).static_row("profile", 1, "x"): None,
        names.fence("static:profile", 0): None,
    }
    assert cases == {key: names.static_version("profile", key) for key in cases}


async def test_the_reader_needs_no_windows(tmp_path: Path) -> None:
    """A project of static rows alone is served."""
    row = world.profile
    only = world.Project("shop", (), world.request, (row,), world.Label(("user",), "1h"))
    here = World()
    await here.load(world.saved(tmp_path, world.profiles(ROWS)))
    reader = VectorReader(world.compile_plan(only), NAMES, here.store)
    vectors = await reader.read(world.requests({"user": "a"}))
    assert ([[30.0, 1.0, 2.0, 3.0]], (1, 0)) == (vectors.matrix.tolist(), vectors.ages_ms.shape)
