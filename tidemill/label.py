"""The label: what an outcome is, how it finds its prediction, and how long it is waited for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from tidemill.checks import check_one_of, check_range
from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError
from tidemill.tasks import BINARY, REGRESSION, Task

Kind = Literal["binary", "number"]
Several = Literal["first", "last", "sum", "max", "mean"]
SMALLEST_SHARE = 0.0001
LABEL, MISSING, CORRECTION = "label", "missing", "correction"  # the kinds of examples


@dataclass(frozen=True, slots=True)
class Label:
    """The outcome of a prediction, waited for at most `wait` after the request.

    `key` names the request fields whose values, joined with `|`, make the join key; without any, a
    label names the id of its prediction (`prediction_id` of the answer). A `binary` outcome is 0 or
    1, a `number` any finite one.

    Of `several` labels the `first` counts at once; for `last`, `sum`, `max` and `mean` they are
    gathered until the wait is over. A label that comes up to `corrections` after the wait, or says
    something else than the example that was made, makes another one; without `corrections` it is a
    dead letter. A prediction without any label counts as `missing` at the end of its wait, if that
    is set. Of the negatives only the share `keep_negatives` becomes examples, weighing more.
    """

    key: tuple[str, ...] = ()
    wait: str = ""
    kind: Kind = "binary"
    several: Several = "first"
    corrections: str | None = None
    missing: float | None = None
    keep_negatives: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.key, tuple) or not all(isinstance(each, str) for each in self.key):
            raise DeclarationError("Label.key", self.key, "a tuple of request fields")
        duration_ms("Label.wait", self.wait)
        if self.corrections is not None:
            duration_ms("Label.corrections", self.corrections)
        check_one_of("Label.kind", self.kind, get_args(Kind))
        binary = self.kind == "binary"
        allowed = [each for each in get_args(Several) if not binary or each not in ("sum", "mean")]
        check_one_of("Label.several", self.several, allowed)
        self._check_missing()
        check_range("Label.keep_negatives", self.keep_negatives, SMALLEST_SHARE, 1)
        if self.keep_negatives < 1 and not binary:
            raise DeclarationError("Label.keep_negatives", self.keep_negatives, "1 for numbers")

    def _check_missing(self) -> None:
        if self.missing is None:
            return
        number = isinstance(self.missing, (int, float)) and not isinstance(self.missing, bool)
        if not number or not math.isfinite(self.missing):
            raise DeclarationError("Label.missing", self.missing, "a finite number")
        if self.kind == "binary" and self.missing not in (0, 1):
            raise DeclarationError("Label.missing", self.missing, "0 or 1")
        if self.fake_negatives and self.missing != 0:
            raise DeclarationError(
                "Label.missing", self.missing, "0 where corrections are declared"
            )

    @property
    def wait_ms(self) -> int:
        """The wait in milliseconds of stream time."""
        return duration_ms("Label.wait", self.wait)

    @property
    def corrections_ms(self) -> int:
        """How long after the wait a label may still correct, in ms; 0 without corrections."""
        return duration_ms("Label.corrections", self.corrections) if self.corrections else 0

    @property
    def fake_negatives(self) -> bool:
        """True when a prediction may count as a negative first and turn out positive later."""
        return self.kind == "binary" and self.missing is not None and self.corrections is not None

    @property
    def task(self) -> Task:
        """What is learned from such labels."""
        return BINARY if self.kind == "binary" else REGRESSION
