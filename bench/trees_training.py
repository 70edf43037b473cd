"""What each way of training the trees brings: cores, going on from the last release, fewer bins.

On flights, as a retrain at the end of each month does it: trained on what is known at the month's
first moment, scored (frozen) over the month. `scratch` is a new model of `ROUNDS` rounds each time,
`continued` goes on from last month's with `MORE` rounds. Quality is over all scored months, speed
is the seconds of all trainings. `ratios` are the seconds of `scratch` on one core divided by those
of each other way.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from batch.scoring import predict_all
from batch.trainers.trainer import TrainingRows
from batch.trainers.trees import TreesTrainer
from bench._result import own_versions, result
from bench.streams.clicks import ClickSettings, simulate_clicks
from bench.streams.flights import read_flights
from bench.streams.stream import Stream
from learners.quality import auc, log_loss
from learners.release import ModelFile
from learners.trees import FrozenTrees
from tidemill.tasks import BINARY
from tidemill.trainer_kinds import LightGBM

ROUNDS, MORE = 200, 50
_DECLARED = LightGBM(leaves=63, rounds=ROUNDS, min_rows_per_leaf=50, feature_share=0.5)
_WAYS: dict[str, tuple[LightGBM, int]] = {
    "scratch": (_DECLARED, 1),
    "scratch_two_cores": (_DECLARED, 2),
    "continued": (replace(_DECLARED, continued=True, rounds=MORE), 1),
    "row_share_half": (replace(_DECLARED, row_share=0.5), 1),
    "bins_63": (replace(_DECLARED, bins=63), 1),
}


def run(quick: bool) -> dict[str, object]:
    """Retrain through the months in every way, one after the other."""
    stream = _few_clicks() if quick else read_flights(last_month=8)
    samples: dict[str, tuple[str, list[float]]] = {}
    seconds: dict[str, float] = {}
    for name, (settings, threads) in _WAYS.items():
        found = _retrained(stream, _small(settings) if quick else settings, threads)
        seconds[name] = found.pop("seconds")
        samples[f"{name}/seconds"] = ("s", [seconds[name]])
        samples |= {f"{name}/{key}": ("1", [value]) for key, value in found.items()}
    same = _same_text(stream, _small(_DECLARED) if quick else _DECLARED)
    ratios = {name: seconds["scratch"] / took for name, took in seconds.items()}
    return result(
        "trees_training", samples, equal=same, ratios=ratios, skipped={},
        versions=own_versions("lightgbm", "numpy"),
    )  # fmt: skip


def _small(settings: LightGBM) -> LightGBM:
    return replace(settings, leaves=7, rounds=4 if settings.continued else 8)


def _few_clicks() -> Stream:
    return simulate_clicks(ClickSettings(3_000, 1.0, users=100, advertisements=20, sites=10))


def _retrained(stream: Stream, settings: LightGBM, threads: int) -> dict[str, float]:
    moments = [stream.start_ms, *stream.retrains_ms]
    ends = [*moments[1:], int(stream.times[-1]) + 1]
    scores = np.empty(len(stream.times))
    champion: ModelFile | None = None
    seconds = 0.0
    for moment, end in zip(moments, ends, strict=True):
        known = stream.known(moment)
        rows = TrainingRows.of(stream.vectors[known], stream.labels[known])
        first = champion is None and settings.continued
        chosen = replace(settings, rounds=settings.rounds * ROUNDS // MORE) if first else settings
        trainer = TreesTrainer(chosen, stream.schema, BINARY, threads, champion=champion)
        began = perf_counter()
        champion = trainer.train(rows)
        seconds += perf_counter() - began
        asked = slice(*np.searchsorted(stream.times, [moment, end]))
        scores[asked] = predict_all(FrozenTrees.parse(champion.data), stream.vectors[asked])
    scored = slice(int(np.searchsorted(stream.times, moments[0])), None)
    labels: Any = stream.labels[scored]
    return {
        "seconds": seconds,
        "auc": auc(labels, scores[scored]) or 0.0,
        "log_loss": log_loss(labels, scores[scored]) or 0.0,
    }


def _same_text(stream: Stream, settings: LightGBM) -> bool:
    """True when one core and two give the same model."""
    known = stream.known(stream.start_ms)
    rows = TrainingRows.of(stream.vectors[known], stream.labels[known])
    few = replace(settings, rounds=min(settings.rounds, 20))
    texts = {TreesTrainer(few, stream.schema, BINARY, n).train(rows).data for n in (1, 2)}
    return len(texts) == 1
