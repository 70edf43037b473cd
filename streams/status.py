"""What the worker says of itself once a second: one JSON document in the store, for the console."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from streams.context import Context
from streams.drift import DriftWatch
from streams.fold import Fold
from streams.join import OUTCOMES, Join
from streams.learn import Learn
from streams.quality import QualityBoard
from streams.rekey import Rekey
from tidemill.wire import BadCaseFound

POINTS, BAD_CASES = 600, 20


class StatusBoard:
    """Collects the counts behind the fences, the running quality and the newest bad cases."""

    def __init__(self, context: Context, learn: Learn, drift: DriftWatch | None = None) -> None:
        self._names, self._store, self._learn = context.names, context.store, learn
        self._measurements, self._clock = context.measurements, context.clock
        self._feature_names, self._schema = context.plan.schema.names, context.plan.schema.hash
        self._series: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._bad_cases: deque[dict[str, Any]] = deque(maxlen=BAD_CASES)
        self._last: tuple[int, Mapping[str, int]] | None = None
        self._results: tuple[str, ...] = ()
        self._quality = QualityBoard(context.measurements, learn, drift)
        self._began = False

    def found(self, case: BadCaseFound) -> None:
        """Remember a bad case; the features of another schema's have names we do not know."""
        prediction = case.prediction
        if prediction.schema != self._schema:
            return
        values = np.frombuffer(prediction.vector, "<f4").astype(float)
        features = {
            name: None if np.isnan(value) else round(value, 4)
            for name, value in zip(self._feature_names, values.tolist(), strict=False)
        }
        self._bad_cases.appendleft(
            {
                "time_ms": case.found_ms, "key": prediction.key, "reason": case.reason,
                "score": prediction.score, "label": case.label, "release": prediction.release,
                "snapshot": prediction.snapshot, "features": features,
            }
        )  # fmt: skip

    async def publish(self) -> None:
        """Write the document. Raises StoreUnavailable."""
        now = self._clock.now_ms()
        if not self._began:
            self._quality.remember((await self._store.read([self._names.status()]))[0])
            self._began = True
        counts, event_time = await self._counts()
        self._series.append(self._point(now, counts, event_time))
        self._last = (now, counts)
        document = {
            "alive": True, "seen_ms": now, "series": list(self._series), "counts": counts,
            "skew": await self._skew(), "quality": self._quality.report(),
            "paused": self._paused(), "refused": self._refused(), "trial": await self._trial(),
        }  # fmt: skip
        await self._store.write(
            [
                (self._names.status(), msgspec.json.encode(document)),
                (self._names.bad_cases(), msgspec.json.encode(list(self._bad_cases))),
            ]
        )

    def _paused(self) -> dict[str, Any] | None:
        """Why learning is paused; None while it goes on."""
        halt = self._learn.halt
        if halt is None:
            return None
        return {
            "reason": halt.reason, "message": halt.message, "since_ms": halt.began_ms,
            "quarantined": halt.examples,
        }  # fmt: skip

    def _refused(self) -> dict[str, Any] | None:
        """The release that is to answer and cannot be used, and why; None while it can."""
        alert = self._learn.refused
        if alert is None:
            return None
        return {"release": alert.subject, "message": alert.message, "since_ms": alert.began_ms}

    def _point(self, now: int, counts: Mapping[str, int], event_time: int) -> dict[str, Any]:
        then, before = self._last or (now - 1000, counts)
        seconds = max(now - then, 1) / 1000
        release, snapshot = self._learn.version
        return {
            "time_ms": now,
            "event_time_ms": event_time,
            "events_per_second": (counts["events_applied"] - before["events_applied"]) / seconds,
            "examples_per_second": (counts["examples"] - before["examples"]) / seconds,
            "lag": dict(self._measurements.lags),
            "release": release,
            "snapshot": snapshot,
            **self._quality.running(),
        }

    async def _skew(self) -> dict[str, Any] | None:
        """What the skew meter found when it last looked; None if it never did."""
        (data,) = await self._store.read([self._names.skew()])
        if data is None:
            return None
        found: dict[str, Any] = msgspec.json.decode(data)
        self._measurements.gauge("tidemill_skew_rate", found["rate"])
        results = {"equal": found["equal"], "rounding": found["rounding"], **found["causes"]}
        for result in dict.fromkeys((*self._results, *results)):
            self._measurements.gauge("tidemill_skew_vectors", results.get(result, 0), result=result)
        self._results = tuple(results)
        return found

    async def _trial(self) -> msgspec.Raw | None:
        """How the challengers do (see `tidemill.trial_report`); None where there was never one."""
        (data,) = await self._store.read([self._names.trial()])
        return msgspec.Raw(data) if data else None

    async def _counts(self) -> tuple[dict[str, int], int]:
        """Totals from the fences (exact across crashes) and the stream's time."""
        names, partitions = self._names, range(self._names.partitions)
        steps = (Rekey.name, Fold.name, Join.name)
        fences = [names.fence(step, partition) for step in steps for partition in partitions]
        total: dict[str, int] = {}
        stream_time = 0
        for fields in await self._store.fence_fields(fences):
            stream_time = max(stream_time, fields.pop("stream_time", 0))
            for name, value in fields.items():
                total[name] = total.get(name, 0) + value
        refused = sum(value for name, value in total.items() if name.startswith("refused_"))
        return {
            "events_read": total.get("events_read", 0),
            "events_applied": total.get("events_applied", 0),
            "dead_letters": total.get("dead_letters", 0),
            "late_values": total.get("late_values", 0),
            "predictions": total.get("predictions", 0),
            "labels_joined": total.get("joined", 0),
            "labels_refused": refused,
            **{f"join_{outcome}": total.get(name, 0) for name, outcome in OUTCOMES.items()},
            "examples": self._learn.learned,
            "bad_cases": self._measurements.totals["tidemill_bad_cases_total"],
        }, stream_time
