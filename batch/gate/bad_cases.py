"""The cases the champion got wrong: a candidate must not do worse on them, nor make new ones.

Which cases those are is said by the declared rules, judged on what the champion answered, and by
people who labelled some. Rows that were chosen because one model failed on them flatter any other,
so that to do worse on them is telling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.gate.paired import Blocks, Interval, chances
from learners.learner import Vectors
from tidemill.declaration import BadCase, Project

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelledCases:
    """Cases that people labelled: vectors (rows, features), labels (rows,), answers (rows,).

    `scores` are NaN where nothing was answered.
    """

    vectors: Vectors
    labels: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class NewBadCases:
    """How many judged rows meet a rule by what each answered; the chance of that by noise."""

    reason: str
    rival: int
    candidate: int
    caused: int
    cured: int
    chance: float


@dataclass(frozen=True, slots=True)
class OnBadCases:
    """The losses on the champion's bad cases of a kind; `difference` is from what is allowed."""

    kind: str
    rows: int
    candidate: float
    rival: float
    difference: Interval


def met(project: Project, rows: Dataset, scores: Floats) -> NDArray[np.bool_]:
    """Which rules each row meets by these scores, (rules, rows)."""
    columns = {name: rows.vectors[:, place] for place, name in enumerate(project.feature_names)}
    columns |= {"score": scores, "label": rows.labels}  # type: ignore[dict-item]
    found = [_meets(rule, columns, len(rows)) for rule in project.bad_cases]
    return np.array(found, bool).reshape(len(found), len(rows))


def _meets(rule: BadCase, columns: dict[str, NDArray[np.float32]], rows: int) -> NDArray[np.bool_]:
    value = np.asarray(rule.when.evaluate(columns, rows), np.float64)
    return np.asarray(np.nan_to_num(np.broadcast_to(value, (rows,))) != 0, bool)


def new_bad_cases(
    project: Project,
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    blocks: Blocks,
) -> tuple[NewBadCases, ...]:
    """Compare how often each rule is met by the rival's answers and by the candidate's.

    `before` and `after` (rules, rows) as `met` gives them.
    """
    if not len(before):
        return ()
    allowed = 1 + project.gate.bad_cases
    each = [blocks.sums(new - allowed * old) for old, new in zip(before, after, strict=True)]
    sums, totals = (np.stack([pair[part] for pair in each]) for part in (0, 1))
    return tuple(
        NewBadCases(
            rule.reason, int(old.sum()), int(new.sum()), int((new & ~old).sum()),
            int((old & ~new).sum()), float(chance),
        )
        for rule, old, new, chance in zip(
            project.bad_cases, before, after, chances(sums, totals), strict=True
        )
    )  # fmt: skip
