"""How a long batch job says how far it is."""

from __future__ import annotations

from typing import Protocol


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
