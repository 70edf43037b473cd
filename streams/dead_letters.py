"""Input that could not be used: kept with its bytes, place and cause, and limited."""

from __future__ import annotations

from collections.abc import Sequence

from streams.measurements import Measurements
from tidemill.bus import Message, Producer
from tidemill.clock import Clock
from tidemill.errors import InputError, TidemillError
from tidemill.topics import DEADLETTERS
from tidemill.wire import DeadLetter


class TooManyDeadLetters(TidemillError):
    """So many records in a row could not be used that reading on would only bury them."""


class DeadLetterBox:
    """Collects a micro-batch's dead letters and sends them before its offsets are committed."""

    def __init__(
        self, producer: Producer, measurements: Measurements, clock: Clock, limit: int
    ) -> None:
        self._producer, self._measurements, self._clock = producer, measurements, clock
        self._limit = limit
        self._in_a_row = 0

    def good(self) -> None:
        """A record was used: the row of bad ones ends."""
        self._in_a_row = 0

    async def send(
        self, topic: str, partition: int, refused: Sequence[tuple[Message, InputError]]
    ) -> None:
        """Write what was refused. Raises BusUnavailable, and TooManyDeadLetters past the limit."""
        if not refused:
            return
        now = self._clock.now_ms()
        letters = [
            DeadLetter(
                topic=topic,
                partition=partition,
                offset=message.offset,
                cause=error.cause,
                message=str(error),
                key=message.key,
                value=message.value or b"",
                time_ms=now,
                headers=[(name, data or b"") for name, data in message.headers],
            )
            for message, error in refused
        ]
        await self._producer.send_many(DEADLETTERS, [(None, letter.encode()) for letter in letters])
        for letter in letters:
            self._measurements.count("tidemill_dead_letters_total", cause=letter.cause)
        self._in_a_row += len(letters)
        if self._in_a_row > self._limit:
            raise TooManyDeadLetters(
                f"{topic}: {self._in_a_row} records in a row could not be used; allowed: "
                f"{self._limit}; the last: partition {partition} offset {letters[-1].offset}: "
                f"{letters[-1].message}"
            )
