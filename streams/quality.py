"""The running quality as it is told: one document for the api, gauges for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import structlog

from streams.drift import DriftWatch
from streams.learn import Learn
from streams.measurements import Measurements
from tidemill.quality import Maturity, Quality, Slice

# The two that the console draws over time; the gauges have all.
DRAWN = {"binary": ("auc", "log_loss"), "regression": ("mae", "rmse")}
SHARES = (0.5, 0.9)
_SLICED = ("auc", "log_loss", "rmse")
_OTHERS = "other"
_log = structlog.get_logger()


class _Stored(msgspec.Struct):
    """What is read of an earlier worker's status."""

    quality: Quality | None = None


class QualityBoard:
    """Asks the learning step and the drift watch what they know."""

    def __init__(
        self, measurements: Measurements, learn: Learn, drift: DriftWatch | None = None
    ) -> None:
        self._measurements, self._learn, self._drift = measurements, learn, drift

    def remember(self, status: bytes | None) -> None:
        """Learn from an earlier worker's status how labels come; all else begins anew."""
        try:
            found = msgspec.json.decode(status or b"{}", type=_Stored).quality
        except msgspec.DecodeError as error:  # of another version
            _log.info("the status of before is not read", error=str(error))
            return
        if found is not None:
            self._learn.progress.remember(found.maturity)

    def running(self) -> dict[str, dict[str, float | None]]:
        """The sliding measures that are drawn over time; sets the gauges of all."""
        summary = self._learn.progress.summary()
        for name, roles in summary.items():
            known = [(value, {"role": r}) for r, value in roles.items() if value is not None]
            self._measurements.gauges(f"tidemill_{name}", known)
        return {name: roles for name, roles in summary.items() if name in _drawn(summary)}

    def report(self) -> Quality:
        """The document; sets the gauges of slices and of maturity."""
        found = self._learn.progress.report()
        for name in _SLICED:
            self._measurements.gauges(
                f"tidemill_slice_{name}", list(_of_slices(found.slices, name))
            )
        self._measurements.gauges("tidemill_maturity_seconds", list(_ages(found.maturity)))
        weights = {name: round(float(w), 4) for name, w in self._learn.expert_weights.items()}
        drift = self._drift.recent if self._drift else []
        return msgspec.structs.replace(found, experts=weights, drift=drift)


def _drawn(summary: Mapping[str, Any]) -> tuple[str, ...]:
    return DRAWN["regression"] if "rmse" in summary else DRAWN["binary"]


def _of_slices(slices: list[Slice], name: str) -> Iterator[tuple[float, Mapping[str, str]]]:
    for each in slices:
        for role, measures in each.roles.items():
            if (value := getattr(measures, name)) is not None:
                yield value, {"slice": each.field, "value": each.value or _OTHERS, "role": role}


def _ages(maturity: Maturity) -> Iterator[tuple[float, Mapping[str, str]]]:
    """The ages by which half and nine tenths of the labels have come."""
    if maturity.known:
        for share in SHARES:
            place = int(np.searchsorted(maturity.shares, share))
            yield maturity.ages_ms[place] / 1000, {"share": str(share)}
