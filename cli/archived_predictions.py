"""Old predictions for the api: from the archive, with their outcomes and their features' names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from api.ports import ArchivedPrediction
from tidemill.wire import Prediction


class ArchivedPredictions:
    """Looks predictions up in the archive of a home, in a thread, one at a time."""

    def __init__(self, home: Path, project: str) -> None:
        self._home, self._project = home, project
        self._one_at_a_time = asyncio.Lock()

    async def find(self, prediction: str) -> ArchivedPrediction | None:
        """The archived prediction of this id, or None. Raises OSError.

        A look may read many files, and a thread cannot be stopped: the next one begins when it has
        ended, also when nobody waits for it any more.
        """
        await self._one_at_a_time.acquire()
        look = asyncio.ensure_future(asyncio.to_thread(self._look, prediction))
        look.add_done_callback(self._ended)
        return await asyncio.shield(look)

    def _ended(self, look: asyncio.Future[ArchivedPrediction | None]) -> None:
        self._one_at_a_time.release()
        if not look.cancelled():
            look.exception()  # whoever still waits gets it; nobody else has to hear of it

    def _look(self, prediction: str) -> ArchivedPrediction | None:
        from features.archive.answers import find_labels
        from features.archive.definitions import read_definitions
        from features.archive.predictions import find_predictions

        found = find_predictions(self._home, self._project, [prediction]).get(prediction)
        if found is None:
            return None
        definition = read_definitions(self._home, self._project).get(found.schema)
        labels = find_labels(self._home, self._project, prediction, found.time)
        record = Prediction(
            found.id, found.key, found.time, found.vector, found.schema, found.score,
            found.baseline, found.release, found.snapshot, found.scored_ms,
            found.request or b"", found.learned_to or 0, found.arm, found.others,
        )  # fmt: skip
        names = list(definition.features) if definition else []
        return ArchivedPrediction(record, names, msgspec.to_builtins(labels))
