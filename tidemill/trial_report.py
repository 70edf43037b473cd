"""How challengers do beside the champion: the document behind `tidemill trial` and the console.

Times are milliseconds since 1970-01-01 UTC, of the stream. What is not known (yet) is null.
"""

from __future__ import annotations

from typing import Literal

from tidemill.quality import Measures, Part

Watched = Literal["challenger", "watched"]


class ArmReport(Part, frozen=True):
    """One model beside the champion, over the examples that both have scored.

    `role` is `watched` for the champion before, which takes its place again when it is shown to be
    better; `answered` counts the examples that it answered, `failed` those that it could not score.
    `difference` is the champion's mean loss less its own, so above 0 it is better; `low` and `high`
    are the confidence sequence (null for too few blocks). `measures` and `champion_measures` are of
    the `newest` examples since the worker started. `left_out` are blocks in which it scored too few
    of them. `behind` is how many examples its learner has not learned yet, `waiting` says in words
    what is missing for a decision.
    """

    release: str
    role: Watched
    share: float
    answered: int
    failed: int
    examples: int
    blocks: int
    left_out: int
    since_ms: int | None
    until_ms: int | None
    loss: float | None
    champion_loss: float | None
    difference: float | None
    low: float | None
    high: float | None
    newest: int
    measures: Measures
    champion_measures: Measures
    behind: int
    waiting: str


class TrialReport(Part, frozen=True):
    """The whole document; `alpha` is shared by the challengers that stand beside the champion."""

    champion: str
    now_ms: int | None
    block_ms: int
    alpha: float
    min_blocks: int
    min_rows: int
    arms: list[ArmReport]
