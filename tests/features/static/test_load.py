"""Loads of static rows: swapped whole, refused whole, cleaned up after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import static_world as world
from static_world import NAMES, NOW, World

from features.static import file as static_file
from features.static.load import KEEP_OTHER_MS, Loaded, MemoryTables, StaticLoader
from features.static.rows import static_plans
from features.vectors import VectorReader
from tidemill.errors import FencedError, InputError, StoreUnavailable

FENCE = NAMES.fence("static:profile", 0)


def table_of(count: int, age: float, first: int = 0) -> Any:
    """`count` users of one age."""
    return world.profiles([(f"u{i}", age, None) for i in range(first, first + count)])


def versions(here: World) -> dict[int, int]:
    """How many rows each version has in the store."""
    found: dict[int, int] = {}
    for key in here.memory.blobs:
        if (version := NAMES.static_version("profile", key)) is not None:
            found[version] = found.get(version, 0) + 1
    return found


async def test_a_load_replaces_the_whole_table(tmp_path: Path) -> None:
    """Rows that the new file does not name are gone, and so are their bytes."""
    here = World()
    first = await here.load(world.saved(tmp_path, table_of(5, 1.0)))
    assert Loaded("profile", 1, 5, 5 * (12 + 16), 0) == first
    second = await here.load(world.saved(tmp_path, table_of(3, 2.0)))
    assert Loaded("profile", 2, 3, 3 * (12 + 16), 5) == second
    ages = [row[0] for row in await here.profile("u0", "u2", "u4")]
    assert ([2.0, 2.0], True, {2: 3}) == (ages[:2], ages[2] != ages[2], versions(here))


async def test_an_empty_file_empties_the_table(tmp_path: Path) -> None:
    """No rows are a table too."""
    here = World()
    await here.load(world.saved(tmp_path, table_of(5, 1.0)))
    assert 0 == (await here.load(world.saved(tmp_path, table_of(0, 1.0)))).rows
    assert {} == versions(here)


@pytest.mark.parametrize("apart", [1, 7], ids=["within a batch", "between batches"])
async def test_a_key_that_stands_twice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: int
) -> None:
    """The second of the two rows is refused, and the old table stays."""
    monkeypatch.setattr(static_file, "MOST_ROWS", 4)
    here = World()
    await here.load(world.saved(tmp_path, table_of(2, 1.0)))
    rows = [(f"u{i}", 2.0, None) for i in range(12)]
    rows[4 + apart] = rows[4]
    with pytest.raises(
        InputError, match=rf"column user, row {5 + apart}: found 'u4'; allowed: each"
    ):
        await here.load(world.saved(tmp_path, world.profiles(rows)))
    assert ([1.0], {1: 2}) == ([row[0] for row in await here.profile("u0")], versions(here))


class Killed(BaseException):
    """Stands for a process that ended at this very moment."""


class MortalTables(MemoryTables):
    """Tables whose owner dies after so many batches."""

    left = 2

    async def add(self, rows: Sequence[tuple[str, bytes]]) -> int | None:
        """Write, until it is time."""
        if self.left == 0:
            raise Killed
        self.left -= 1
        return await super().add(rows)


@pytest.mark.parametrize("alive", [0, 1, 2])
async def test_a_killed_load_leaves_the_old_table_and_the_next_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: int
) -> None:
    """Half a table is never served, and is removed by the load after it."""
    monkeypatch.setattr(static_file, "MOST_ROWS", 4)
    here = World()
    await here.load(world.saved(tmp_path, table_of(12, 1.0)))
    mortal = MortalTables(NAMES, here.memory)
    mortal.left = alive
    loader = StaticLoader(NAMES, here.store, mortal, here.clock)
    file = static_file.StaticFile(
        world.saved(tmp_path, table_of(12, 2.0)), world.profile, world.request
    )
    with pytest.raises(Killed):
        await loader.load(file, world.PROFILE, lambda _: None)
    assert [[1.0], [1.0]] == [row[:1] for row in await here.profile("u0", "u11")]
    assert ({1: 12} | ({2: 4 * alive} if alive else {})) == versions(here)
    await here.load(world.saved(tmp_path, table_of(12, 3.0)))
    assert [[3.0], [3.0]] == [row[:1] for row in await here.profile("u0", "u11")]
    assert {3: 12} == versions(here)


async def test_a_load_killed_after_its_swap_is_cleaned_up_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between swap and removal the new table is served and the old one still lies there."""
    here = World()
    await here.load(world.saved(tmp_path, table_of(3, 1.0)))

    async def killed(*_: Any) -> int:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(here.tables, "remove", killed)
        await here.load(world.saved(tmp_path, table_of(4, 2.0)))
    assert ([[2.0]], {1: 3, 2: 4}) == (
        [row[:1] for row in await here.profile("u0")],
        versions(here),
    )
    await here.load(world.saved(tmp_path, table_of(5, 3.0)))
    assert {3: 5} == versions(here)


class OvertakenTables(MemoryTables):
    """Tables in which, just before a write, another load begins and ends."""

    other: Any = None

    async def add(self, rows: Sequence[tuple[str, bytes]]) -> int | None:
        """Let the other one go first, once."""
        if other := self.other:
            self.other = None
            await other()
        return await super().add(rows)


@pytest.mark.parametrize("batches", [1, 3])
async def test_the_load_that_began_last_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """A load that another one overtook never swaps, and what it wrote goes with the next."""
    monkeypatch.setattr(static_file, "MOST_ROWS", 4)
    here = World()
    slow = OvertakenTables(NAMES, here.memory)
    newer = world.saved(tmp_path, table_of(5, 2.0), "newer.parquet")
    slow.other = lambda: here.load(newer)
    loader = StaticLoader(NAMES, here.store, slow, here.clock)
    older = world.saved(tmp_path, table_of(4 * batches, 1.0), "older.parquet")
    file = static_file.StaticFile(older, world.profile, world.request)
    with pytest.raises(FencedError, match="epoch"):
        await loader.load(file, world.PROFILE, lambda _: None)
    assert [[2.0]] == [row[:1] for row in await here.profile("u0")]
    await here.load(newer)
    assert {3: 5} == versions(here)


async def test_two_declarations_are_served_side_by_side(tmp_path: Path) -> None:
    """A changed declaration has a table of its own; the old one goes a week after its last load."""
    here = World()
    await here.load(world.saved(tmp_path, table_of(3, 1.0)))
    shorter = world.StaticRow("profile", world.user, ("age",))
    changed = world.Project("shop", (), world.request, (shorter,), world.Label(("user",), "1h"))
    (plan,) = static_plans(changed)
    reader = VectorReader(world.compile_plan(changed), NAMES, here.store)
    path = world.saved(tmp_path, table_of(4, 2.0), "changed.parquet")
    for wait_ms, expected in ((KEEP_OTHER_MS, {1: 3, 2: 4}), (1, {3: 4})):
        here.clock.advance(wait_ms)
        await here.load(path, plan)
        assert expected == versions(here)
        new = await reader.read(world.requests({"user": "u0"}))
        old = (await here.profile("u0"))[0][0]
        assert ([[2.0]], len(expected) == 2) == (new.matrix.tolist(), old == 1.0)


async def test_the_fence_says_what_is_served(tmp_path: Path) -> None:
    """Version, time and rows of the table stand in its fence."""
    here = World()
    await here.load(world.saved(tmp_path, table_of(3, 1.0)))
    layout = f"{world.PROFILE.layout:08x}"
    expected = {
        "epoch": 1, "cleaned": 1, f"live:{layout}": 1,
        f"loaded_ms:{layout}": NOW, f"rows:{layout}": 3,
    }  # fmt: skip
    assert [expected] == await here.store.fence_fields([FENCE])


async def test_a_store_that_goes_away_leaves_the_old_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load fails; the table from before is served when the store is back."""
    here = World()
    await here.load(world.saved(tmp_path, table_of(3, 1.0)))

    async def gone(_: Any) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(here.store, "commit", gone)
        await here.load(world.saved(tmp_path, table_of(3, 2.0)))
    assert [[1.0]] == [row[:1] for row in await here.profile("u0")]
