"""How a long batch job says how far it is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Told about stages one after another; must not block and must not raise."""

    def start(self, stage: str, steps: int) -> None:
        """A stage of so many steps begins; the one before is over."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many more steps of the stage are done."""
        ...


class Silent:
    """Says nothing."""

    def start(self, stage: str, steps: int) -> None:
        """Say nothing."""

    def advance(self, steps: int = 1) -> None:
        """Say nothing."""


@runtime_checkable
class Noting(Protocol):
    """A progress that can also say in words how a stage stands."""

    def note(self, text: str) -> None:
        """Say this beside the stage's steps until the next note."""
        ...
