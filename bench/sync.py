"""How good answers are when weights reach serving only every so often: 5 hours to 1 second.

After Liu et al., "Monolith: Real Time Recommendation System With Collisionless Embedding Table"
(2022), section 3.3: a batch stage on the first part (its Algorithm 1), then online training on
every label as it comes, while serving scores with the weights of the last synchronisation.
`monotone` says that no shorter interval is worse than a longer one beyond the paired 95 % interval
of their difference; `ratios` are the log-loss of the longest interval divided by that of each
other (> 1: synchronising sooner is better). Flights are known to the minute: there is nothing to
learn within one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from bench._result import own_versions, result
from bench.streams.bootstrap import Estimate, measure
from bench.streams.clicks import ClickSettings, simulate_clicks
from bench.streams.flights import read_flights
from bench.streams.service import Releases, Service, serve
from bench.streams.stream import Stream
from tidemill.durations import HOUR_MS, MINUTE_MS
from tidemill.errors import TidemillError
from tidemill.learner_kinds import LearnerKind, Linear, TreeHead
from tidemill.trainer_kinds import LightGBM, LinearModel

INTERVALS_MS = {
    "5h": 5 * HOUR_MS,
    "1h": HOUR_MS,
    "30min": 30 * MINUTE_MS,
    "10min": 10 * MINUTE_MS,
    "1min": MINUTE_MS,
    "10s": 10_000,
    "1s": 1_000,
}
_LINEAR = Linear(learning_rate=0.5, hash_bits=None)
_RELEASES = LinearModel(ridge=2.0, hash_bits=None)
_TREES = LightGBM(rounds=200, min_rows_per_leaf=50, feature_share=0.3)


def run(quick: bool) -> dict[str, object]:
    """Serve each stream once for every interval, from the same release."""
    measures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    skipped: dict[str, str] = {}
    _sweep(_clicks(quick), _LINEAR, _RELEASES, list(INTERVALS_MS), measures, ratios)
    if quick:
        skipped["flights"] = "not in a quick run"
    else:
        try:
            flights = read_flights(last_month=8)
            to_the_minute = [name for name, length in INTERVALS_MS.items() if length >= MINUTE_MS]
            _sweep(flights, TreeHead(), _TREES, to_the_minute, measures, ratios)
        except TidemillError as error:
            skipped["flights"] = str(error)
    told = result(
        "sync", {}, equal=True, ratios={}, skipped=skipped,
        versions=own_versions("lightgbm", "numpy"),
    )  # fmt: skip
    return told | {"measures": measures, "ratios": ratios}


def _clicks(quick: bool) -> Stream:
    rows, per_second = (4_000, 1.0) if quick else (300_000, 3.0)
    return simulate_clicks(
        ClickSettings(
            rows, per_second, users=2_000, advertisements=300, sites=60, half_life_ms=2 * HOUR_MS
        )
    )


def _sweep(  # noqa: PLR0913 - what a sweep is about, and where its numbers go
    stream: Stream,
    learner: LearnerKind,
    trainer: LightGBM | LinearModel,
    names: list[str],
    measures: dict[str, Any],
    ratios: dict[str, float],
) -> None:
    releases, found = Releases(stream, trainer), {}
    labels, blocks = stream.labels[stream.scored], stream.blocks[stream.scored]
    for name in names:
        scores = serve(Service(learner, retrain=False), releases, INTERVALS_MS[name])
        found[name] = measure(labels, scores, blocks)
        for kind in ("auc", "log_loss"):
            measures[f"{stream.name}/{name}/{kind}"] = _told(found[name][kind], kind)
    gains = {}
    for slower, faster in pairwise(names):
        gains[faster] = found[faster]["auc"] - found[slower]["auc"]
        measures[f"{stream.name}/{faster}-{slower}/auc"] = _told(gains[faster], "auc")
    monotone = all(gain.interval[1] >= 0 for gain in gains.values())
    measures[f"{stream.name}/monotone"] = {"value": monotone, "unit": "1", "samples": [monotone]}
    slowest = found[names[0]]["log_loss"].value
    for name in names[1:]:
        ratios[f"{stream.name}/{name}"] = round(slowest / found[name]["log_loss"].value, 4)


def _told(estimate: Estimate, kind: str) -> dict[str, Any]:
    return {
        "value": round(estimate.value, 6),
        "unit": "nats" if kind == "log_loss" else "1",
        "samples": [round(estimate.value, 6)],
        "interval": [round(end, 6) for end in estimate.interval],
    }
