"""What a step of the stream is: it opens partitions and processes micro-batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tidemill.bus import Message
from tidemill.errors import TidemillError

Records = Mapping[str, Sequence[Message]]


class Reopen(TidemillError):
    """A decision, no failure: what the partition's state is made of has changed, open it again."""

    def __init__(self, step: str, partition: int) -> None:
        self.step, self.partition = step, partition
        super().__init__(f"{step}: partition {partition} opens again")


class Step(Protocol):
    """One step. Offsets are its own: it says where to read, and commits them with its effects."""

    @property
    def name(self) -> str:
        """Names the step's group, fence and metrics."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of topics it reads."""
        ...

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Take a partition (with `claim`) or read its state again; returns where to read on.

        Raises StoreUnavailable, or FencedError when the partition is another owner's.
        """
        ...

    async def process(self, partition: int, records: Records) -> None:
        """Apply one micro-batch and commit; after any error the partition is opened again."""
        ...

    def forget(self, partition: int) -> None:
        """Drop what is in memory of a partition that is not ours any more."""
        ...

    async def tick(self) -> None:
        """Called after every poll, also an empty one: for work that follows the clock."""
        ...

    async def close(self) -> None:
        """Finish cleanly: flush what waits."""
        ...
