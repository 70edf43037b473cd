"""What a label is: yes or no, a number, or one of several classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidemill.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class Task:
    """What is predicted.

    `binary`: labels are 0 and 1, predictions the probability of 1. `regression`: any finite number.
    `multiclass`: labels are 0 … `classes` - 1, predictions one probability for each.
    """

    kind: Literal["binary", "regression", "multiclass"]
    classes: int = 0

    def __post_init__(self) -> None:
        if (self.kind == "multiclass") != (self.classes > 1):
            raise DeclarationError(
                "Task.classes", self.classes, "2 or more for multiclass, else none"
            )


BINARY, REGRESSION = Task("binary"), Task("regression")
