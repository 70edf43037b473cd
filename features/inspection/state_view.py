"""An entity's state as a person reads it: tiles, last values, decayed sums, sketches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.evolution.differences import text
from features.layout import DECAY_WORDS, LAST_WORDS, PARTIALS, RING_HEADER_WORDS
from features.plan import EntityPlan, GroupPlan
from features.sketches.state import SketchState
from tidemill.feature_kinds import LIFETIME_MS

_RING_COLUMNS = 5  # of a row of GroupPlan.rings before the positions
_DOUBLES, _LONGS = ("sum", "squares"), ("first",)
Json = dict[str, Any]


def kept_state(
    plan: EntityPlan, words: NDArray[np.int32], sketches: SketchState | None
) -> Iterator[Json]:
    """What is kept of one entity, series by series, ready for JSON.

    words int32 (words,): its row. Tiles without events are left out.
    """
    for group in plan.groups:
        for column, (of, where) in enumerate(group.series):
            kept: Json = {
                "event": group.event.name,
                "of": None if of is None else text(of),
                "where": None if where is None else text(where),
            }
            tiles = list(_rings(group, column, words))
            if tiles:
                kept["tiles"] = tiles
            if lasts := list(_lasts(group, column, words)):
                kept["last"] = lasts
            if decays := list(_decays(group, column, words)):
                kept["decayed"] = decays
            if sketches is not None and (found := list(_sketches(plan, group, column, sketches))):
                kept["sketches"] = found
            yield kept


def _rings(group: GroupPlan, column: int, words: NDArray[np.int32]) -> Iterator[Json]:
    longs = words.view(np.int64)
    for row in group.rings.tolist():
        if row[0] != column:
            continue
        _, at, tiles, step, width = row[:_RING_COLUMNS]
        places = dict(zip(PARTIALS, row[_RING_COLUMNS:], strict=True))
        newest = int(longs[at // 2]) - 1
        for tile in range(max(newest - tiles + 1, 0), newest + 1):
            base = at + RING_HEADER_WORDS + (tile % tiles) * width
            found = _partials(places, words[base : base + width])
            if found:
                lifetime = step == LIFETIME_MS
                yield {
                    "from_ms": None if lifetime else tile * step,
                    "to_ms": None if lifetime else (tile + 1) * step,
                    **found,
                }


def _partials(places: Mapping[str, int], tile: NDArray[np.int32]) -> Json:
    """What a tile holds; nothing for one that no event fell into."""
    if not tile.any():
        return {}
    found: Json = {}
    for name, at in places.items():
        if at < 0:
            continue
        if name in _DOUBLES:
            found[name] = float(tile[at : at + 2].view(np.float64)[0])
        elif name in _LONGS:
            found[f"{name}_ms"] = int(tile[at : at + 2].view(np.int64)[0])
        elif name == "count":
            found[name] = int(tile[at : at + 1].view(np.uint32)[0])
        else:
            found[name] = float(tile[at : at + 1].view(np.float32)[0])
    empty = {"count": 0, "first_ms": 0, "min": math.inf, "max": -math.inf}
    return {} if any(found.get(name) == value for name, value in empty.items()) else found


def _lasts(group: GroupPlan, column: int, words: NDArray[np.int32]) -> Iterator[Json]:
    for own, at, kept in group.lasts.tolist():
        for place in range(at, at + kept * LAST_WORDS, LAST_WORDS):
            time = int(words[place : place + 2].view(np.int64)[0])
            if own == column and time:
                value = float(words[place + 2 : place + 3].view(np.float32)[0])
                yield {"time_ms": time, "value": value}


def _decays(group: GroupPlan, column: int, words: NDArray[np.int32]) -> Iterator[Json]:
    for own, at, half_life in group.decays.tolist():
        part = words[at : at + DECAY_WORDS]
        time = int(part[:2].view(np.int64)[0])
        if own == column and time:
            count, total = part[2:].view(np.float64).tolist()
            yield {"half_life_ms": half_life, "as_of_ms": time, "count": count, "sum": total}


def _sketches(
    plan: EntityPlan, group: GroupPlan, column: int, state: SketchState
) -> Iterator[Json]:
    for place in group.sketches:
        ring = plan.sketch_rings[place]
        if ring.column == column:
            sizes = {tile: len(data) for tile, data in state.payloads(place).items()}
            lifetime = ring.step_ms == LIFETIME_MS
            for tile, size in sizes.items():
                start = None if lifetime else tile * ring.step_ms
                end = None if lifetime else (tile + 1) * ring.step_ms
                yield {"kind": ring.kind, "from_ms": start, "to_ms": end, "bytes": size}
