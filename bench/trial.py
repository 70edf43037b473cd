"""How often a trial promotes an equal challenger, finds a better one, and takes a bad one back.

A world is a stream of examples that champion and challenger have both scored, through the very code
the worker runs (`streams/trials/comparison.py`, declared as by default: blocks of 10 minutes, alpha
.05, a watch of 24 h, windows of 6 h), judged after every block. Both models know the truth but for
noise of their own in the log-odds: part is each row's, part is shared by a block, part lasts for
about two hours. In an A/A world the noise of both has the same distribution, so that their losses
are equal but never the same; else the challenger's is smaller. `turns_bad`: a champion that was
promoted loses its edge and more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench._result import own_versions, result
from streams.learning import Placed
from streams.trials.comparison import Arm, Comparison, Roster, Verdict
from tidemill.tasks import BINARY
from tidemill.trial import Trial
from tidemill.wire import ArmScore, Example, Prediction

A, B = "r0001", "r0002"
LIMITS = Trial()
NOISE = 0.5  # of each row, in the log-odds
Floats = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Sizes:
    """A kind of world: rows of a block, noise it shares, noise that lasts, and blocks in all."""

    name: str
    rows: int
    shared: float
    lasting: float
    blocks: int = 720  # five days


WORLDS = (
    Sizes("independent", 12, 0.0, 0.0),
    Sizes("blocks_share", 12, 0.3, 0.0),
    Sizes("blocks_share_much", 12, 1.0, 0.0),
    Sizes("few_rows", 4, 0.3, 0.0),
    Sizes("shocks_last_two_hours", 12, 0.2, 0.3),
)
TURNS = (
    Sizes("blocks_share", 12, 0.3, 0.0),
    Sizes("hundred_rows", 100, 0.3, 0.0),
    Sizes("shocks_last_two_hours", 100, 0.2, 0.3),
)
BETTER = (0.9, 0.8, 0.5)  # the challenger's noise, where the champion's is 1
WORSE = (1.25, 1.5, 2.0)


def examples(
    random: Random, world: Sizes, noise: dict[str, float], first: int, blocks: int
) -> Iterator[Placed]:
    """Blocks of examples; `noise` is how much each of the two has, relative to the world's."""
    rows, shape = world.rows, (blocks, world.rows)
    odds = random.normal(size=shape)
    labels = (random.random(shape) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    said = {
        name: 1 / (1 + np.exp(-odds - size * _noise(random, world, shape)))
        for name, size in noise.items()
    }
    step = LIMITS.block_ms // (rows + 1)
    for block in range(blocks):
        for row in range(rows):
            number = (first + block) * rows + row
            time = (first + block) * LIMITS.block_ms + row * step + 1
            scores = {name: float(found[block, row]) for name, found in said.items()}
            yield number, _example(number + 1, time, float(labels[block, row]), scores)


def _noise(random: Random, world: Sizes, shape: tuple[int, int]) -> Floats:
    blocks, _ = shape
    lasting = _remembering(random, blocks, math.exp(-1 / 12))
    shared = world.shared * random.normal(size=blocks) + world.lasting * lasting
    return NOISE * random.normal(size=shape) + shared[:, None]


def _remembering(random: Random, steps: int, memory: float) -> Floats:
    """A series of variance 1 in which each value remembers the one before."""
    values = random.normal(size=steps)
    for step in range(1, steps):
        values[step] = memory * values[step - 1] + (1 - memory**2) ** 0.5 * values[step]
    return values


def _example(sequence: int, time: int, label: float, said: dict[str, float]) -> Example:
    made = Prediction(
        "p", "k", time, b"", "s", said[A], 0.5, A, 1, time, arms=[ArmScore(B, 1, 0, said[B])]
    )
    return Example(made, label, time, time, 0, sequence)


def compared(roster: Roster) -> Comparison:
    """A comparison that begins."""
    found = Comparison(LIMITS, BINARY)
    found.follow(roster)
    return found


def verdict(found: Comparison, placed: Iterator[Placed]) -> Verdict | None:
    """The first verdict, if there is any."""
    return found.take(list(placed))


def promotions(
    random: Random, world: Sizes, noise: float, worlds: int
) -> tuple[float, list[float]]:
    """The share of worlds in which the challenger is promoted, and after how many blocks."""
    taken: list[float] = []
    for _ in range(worlds):
        found = compared(Roster(A, (Arm(B),)))
        if verdict(found, examples(random, world, {A: 1.0, B: noise}, 0, world.blocks)):
            taken.append(float(found.pairs[B].sums.blocks))
    return len(taken) / worlds, taken


def rollbacks(random: Random, world: Sizes, noise: float, worlds: int) -> tuple[float, list[float]]:
    """The share of watches that end by a rollback, and how many blocks after the turn.

    The champion was as good as the one before for six hours; then its noise is this.
    """
    taken: list[float] = []
    watch, turn = LIMITS.watch_ms // LIMITS.block_ms, 36
    for _ in range(worlds):
        before = compared(Roster(B, (Arm(A),)))
        before.take(list(examples(random, world, {A: 1.0, B: 1.0}, 0, 100)))
        before.promoted(A)
        before.follow(Roster(A, (Arm(B, watched=True),)))
        found = verdict(before, examples(random, world, {A: 1.0, B: 1.0}, 100, turn))
        if found is None:
            placed = examples(random, world, {A: noise, B: 1.0}, 100 + turn, watch - turn + 2)
            found = verdict(before, placed)
        if found is not None and found.action == "rolled_back":
            taken.append(before.clock_ms / LIMITS.block_ms - 100 - turn)
    return len(taken) / worlds, taken


def run(quick: bool) -> dict[str, object]:
    """The shares of each kind of world, and the median blocks a decision takes."""
    random, worlds = np.random.default_rng(11), 4 if quick else 200
    some = max(worlds // 4, 2)
    shares: dict[str, tuple[str, list[float]]] = {}
    for world in WORLDS[1:2] if quick else WORLDS:
        found, _ = promotions(random, world, 1.0, worlds)
        shares[f"{world.name}/equal_promoted"] = ("share", [found])
        for noise in BETTER:
            found, blocks = promotions(random, world, noise, some)
            shares[f"{world.name}/noise_{noise:g}_promoted"] = ("share", [found])
            if blocks:
                shares[f"{world.name}/noise_{noise:g}_blocks"] = ("blocks", blocks)
    for world in TURNS[:1] if quick else TURNS:
        found, _ = rollbacks(random, world, 1.0, worlds)
        shares[f"{world.name}/equal_rolled_back"] = ("share", [found])
        for noise in WORSE:
            found, blocks = rollbacks(random, world, noise, some)
            shares[f"{world.name}/turns_bad_{noise:g}_rolled_back"] = ("share", [found])
            if blocks:
                shares[f"{world.name}/turns_bad_{noise:g}_blocks"] = ("blocks", blocks)
    return result(
        "trial", shares, equal=True, ratios={}, skipped={}, versions=own_versions("numpy")
    )
