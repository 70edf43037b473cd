"""The trials a study begins with: what is declared, borrowed, or known to be good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from batch.search.memory import Found, Neighbour
from batch.search.portfolio import PORTFOLIO, SOURCE
from batch.search.space import Space, plain
from batch.search.study import Start
from batch.search.trials import SAMPLED, key_of

DECLARED = "declared"


def starts_of(space: Space, neighbours: Sequence[Neighbour]) -> list[Start]:
    """The nearest studies' best trials, then each family as declared; without memory a portfolio.

    The families take turns, and each start is there once.
    """
    starts = [_start(space, best, each) for each in neighbours if (best := _best(space, each))]
    entries = {} if starts else PORTFOLIO
    columns = [_of_family(space, family, entries.get(family, ())) for family in space.families]
    for row in zip_longest(*columns):
        starts += [start for start in row if start is not None]
    seen = {key_of(each.parameters, dict(each.fixed)): each for each in reversed(starts)}
    return [*seen.values()][::-1]


def _of_family(space: Space, family: str, entries: Sequence[Mapping[str, Any]]) -> list[Start]:
    """The portfolio's best, what is declared, and the rest of the portfolio."""
    own = space.parameters(family, plain(space.families[family]))
    said = any(name.startswith(f"{family}.") for name in own) or not space.choices[family]
    known = [Start(space.parameters(family, entry), SOURCE) for entry in entries]
    return [*known[:1], Start(own, DECLARED if said else SAMPLED), *known[1:]]


def borrowed(space: Space, neighbours: Sequence[Neighbour]) -> list[dict[str, Any]]:
    """What was taken over from where, for the report."""
    found = []
    for each in neighbours:
        if best := _best(space, each):
            record = each.record
            found.append(
                {
                    "study": record.id, "project": record.project, "rows": record.rows,
                    "distance": round(each.distance, 4), "loss": best.loss, "family": best.family,
                    "settings": best.settings,
                }
            )  # fmt: skip
    return found


def _best(space: Space, neighbour: Neighbour) -> Found | None:
    """A study's best trial of a family that is searched here."""
    return next((each for each in neighbour.record.best if each.family in space.families), None)


def _start(space: Space, best: Found, neighbour: Neighbour) -> Start:
    record = neighbour.record
    origin = f"{record.project}, study {record.id}, distance {neighbour.distance:.2f}"
    return Start(space.parameters(best.family, best.settings), origin, best.fixed)
