"""Examples that champion and challengers have scored, drawn so that one is better or none is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from stream_world import NOW, make_prediction

from streams.learning import Placed
from tidemill.trial import Trial
from tidemill.wire import ArmScore, Example

MINUTE = 60_000
LIMITS = Trial(block="1min", min_blocks=20, min_rows=100, watch="2h", window="20min")


def examples(  # noqa: PLR0913 - what can be otherwise in such a world
    blocks: range,
    spoils: dict[str, float],
    *,
    champion: str = "r0001",
    rows: int = 20,
    seed: int = 1,
    canary: str = "",
) -> Iterator[Placed]:
    """So many a minute; a release's score is the truth, its log-odds off by noise of this size.

    The noise of a minute is the same for all of a release's scores. A `canary` answers every third.
    """
    for block in blocks:
        random = np.random.default_rng((seed, block))
        noise = {release: random.normal() * size for release, size in sorted(spoils.items())}
        for row in range(rows):
            sequence = block * rows + row + 1
            odds = random.normal()
            label = float(random.random() < 1 / (1 + math.exp(-odds)))
            said = {
                name: 1 / (1 + math.exp(-odds - 0.3 * noise[name] - random.normal() * spoils[name]))
                for name in sorted(spoils)
            }
            arm = canary if canary and row % 3 == 0 else champion
            yield sequence - 1, example(said, arm, sequence, label, NOW + block * MINUTE + row)


def example(  # noqa: PLR0913 - what an example consists of
    said: dict[str, float], answered: str, sequence: int, label: float, time: int,
    champion: str = "r0001",
) -> Example:  # fmt: skip
    """One that this release answered, with what the others say."""
    others = [ArmScore(name, 1, 0, said[name]) for name in said if name != answered]
    others.sort(key=lambda each: (each.release != champion, each.release))
    made = make_prediction(f"k{sequence}", time - 1, sequence)
    made = msgspec.structs.replace(
        made, score=said[answered], release=answered, arms=others,
        arm="champion" if answered == champion else "canary",
    )  # fmt: skip
    return Example(made, label, time, time, 0, sequence)


def cut(placed: Sequence[Placed], sizes: Sequence[int]) -> Iterator[Sequence[Placed]]:
    """The same in calls of these sizes, again and again."""
    place = number = 0
    while place < len(placed):
        size = sizes[number % len(sizes)]
        yield placed[place : place + size]
        place, number = place + size, number + 1
