"""One prediction by its id: what was asked, what was seen, and what answered."""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from api.http.call import Call
from api.http.errors import Problem, Refused, refuse_missing
from api.ports import ArchivedPrediction
from tidemill.errors import TidemillError
from tidemill.wire import ArmScore, Prediction

KEPT = 10_000
ARCHIVE_SECONDS = 10.0
_ID = re.compile(r"[0-9a-f]{32}")
_ENCODE = msgspec.json.Encoder().encode


class Answering(msgspec.Struct, frozen=True):
    """What answered: the release and its learner's snapshot, at this offset of the examples."""

    release: str
    snapshot: int
    offset: int
    arm: str


class PredictionView(msgspec.Struct, frozen=True):
    """One prediction as it was logged; times in ms since 1970.

    `baseline` is what the frozen release said. `features` are the values the model saw, null where
    missing, by name; null where nobody knows any more what the schema was. `arms` are the other
    models' scores, `labels` the outcomes that are archived. `source` says where it was found: among
    the recent ones of this process, or in the archive.
    """

    id: str
    key: str
    time: int
    scored_ms: int
    score: float
    baseline: float | None
    model: Answering
    schema: str
    features: dict[str, float | None] | None
    request: msgspec.Raw
    arms: list[ArmView]
    labels: list[dict[str, Any]]
    source: Literal["recent", "archive"]


class ArmView(msgspec.Struct, frozen=True):
    """Another model's score of the same vector; null where it failed."""

    release: str
    snapshot: int
    offset: int
    score: float | None


class RecentPredictions:
    """The newest predictions of this process; the oldest leave, and putting some in is cheap."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Prediction] = deque(maxlen=kept)

    def put(self, predictions: Iterable[Prediction]) -> None:
        """Keep these, newest last."""
        self._kept.extend(predictions)

    def find(self, prediction: str) -> Prediction | None:
        """The prediction of this id, the newest record of it. Looks through all of them."""
        return next((each for each in reversed(self._kept) if each.id == prediction), None)


class PredictionFinder:
    """Finds a prediction among the recent ones of this process, else in the archive."""

    def __init__(
        self,
        recent: Callable[[str], Prediction | None],
        archive: Callable[[str], Awaitable[ArchivedPrediction | None]],
        names: Callable[[str], Sequence[str]],
    ) -> None:
        """`names` gives the features of a schema that this process knows, else nothing."""
        self._recent, self._archive, self._names = recent, archive, names

    async def look(self, call: Call) -> bytes:
        """The prediction that the call's path ends with, as JSON. Raises Refused."""
        prediction = prediction_id(call.path.rpartition("/")[2])
        found = self._recent(prediction)
        if found is not None:
            return _ENCODE(_view(found, self._names(found.schema), [], "recent"))
        archived = await self._archived(prediction)
        if archived is None:
            allowed = "one of the newest answers of this process, or one that is archived"
            raise refuse_missing("unknown_prediction", "id", prediction, allowed)
        record = archived.prediction
        names = archived.features or self._names(record.schema)
        return _ENCODE(_view(record, names, archived.labels, "archive"))

    async def _archived(self, prediction: str) -> ArchivedPrediction | None:
        try:
            async with asyncio.timeout(ARCHIVE_SECONDS):
                return await self._archive(prediction)
        except TimeoutError:
            found = f"no answer within {ARCHIVE_SECONDS:g} s"
        except (TidemillError, OSError) as error:
            found = str(error)
        raise Refused(503, Problem("archive_unavailable", "archive", found, "one that answers"))


def prediction_id(text: str) -> str:
    """The id itself. Raises Refused (404) for what no prediction is called."""
    if not _ID.fullmatch(text):
        allowed = "32 hexadecimal digits, the prediction_id of an answer"
        raise refuse_missing("unknown_prediction", "id", repr(text[:80]), allowed)
    return text


def _view(
    record: Prediction,
    names: Sequence[str],
    labels: list[dict[str, Any]],
    source: Literal["recent", "archive"],
) -> PredictionView:
    values = [_finite(value) for value in np.frombuffer(record.vector, "<f4").tolist()]
    features = dict(zip(names, values, strict=True)) if len(names) == len(values) else None
    return PredictionView(
        record.id, record.key, record.time, record.scored_ms, record.score,
        _finite(record.baseline),
        Answering(record.release, record.snapshot, record.offset, record.arm), record.schema,
        features, msgspec.Raw(record.request or b"null"), [_arm(arm) for arm in record.arms],
        labels, source,
    )  # fmt: skip


def _arm(arm: ArmScore) -> ArmView:
    return ArmView(arm.release, arm.snapshot, arm.offset, _finite(arm.score))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
