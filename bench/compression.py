"""What compression brings and costs: bytes, latency and log-loss of trees, a net, a linear model.

On flights: trained on January to April (the trees with the design's settings, 63 leaves and 200
rounds), methods chosen on May, and what is told here measured on June, which no choice has seen.
`wish` is `tm.Compression()`, four times smaller for 1 %; `limit` is as small as 1 % allows; `fast`
is three times fewer operations. Latency is that of `predict_many` of the frozen model, one row and
512 rows a call, the models in turn. `ratios` are before ÷ after: of bytes and of the time of one
row. Answers are equal when every model's ONNX export predicts what it predicts within 1e-5, and
LightGBM reads the trees' text as we do.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import lightgbm
import numpy as np

from batch.compression.compress import compress
from batch.compression.judge import loss_of
from batch.compression.latency import measure
from batch.onnx_export import check_onnx, to_onnx
from batch.scoring import predict_all
from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from bench._result import median, own_versions, result
from bench.streams.clicks import ClickSettings, simulate_clicks
from bench.streams.flights import PROJECT, read_flights
from bench.streams.stream import Stream
from cli.demo.options import month_start_ms
from learners.quality import auc
from learners.release import TREES_FILE, ModelFile, read_model
from tidemill.compression import Compression
from tidemill.declaration import Project
from tidemill.durations import HOUR_MS
from tidemill.loading import load_project
from tidemill.tasks import BINARY
from tidemill.trainer_kinds import LightGBM, LinearModel, NetModel, TrainerKind

_MODELS: dict[str, TrainerKind] = {
    "trees": LightGBM(), "net": NetModel(device="cpu"), "linear": LinearModel(),
}  # fmt: skip
_QUICK: dict[str, TrainerKind] = {
    "trees": LightGBM(leaves=15, rounds=20), "net": NetModel(epochs=1, device="cpu"),
    "linear": LinearModel(hash_bits=12),
}  # fmt: skip
_TARGETS = {
    "wish": Compression(),
    "limit": Compression(smaller=None),
    "fast": Compression(smaller=None, faster=3.0),
}
_OF = {"trees": ("wish", "limit", "fast"), "net": ("wish", "limit"), "linear": ("wish", "limit")}
_ONNX_ROWS = 20_000
_SETTLED_FROM, _TESTED_FROM, _LAST_MONTH = 5, 6, 6

Parts = tuple[TrainingRows, TrainingRows, TrainingRows]
Samples = dict[str, tuple[str, list[float]]]


def run(quick: bool) -> dict[str, object]:
    """Train each model, compress it to each target, and time all of its forms in turn."""
    stream = _few_clicks() if quick else read_flights(last_month=_LAST_MONTH)
    parts, project = _parts(stream, quick), load_project(PROJECT)
    samples: Samples = {}
    skipped: dict[str, str] = {}
    ratios: dict[str, float] = {}
    equal = True
    for name, settings in (_QUICK if quick else _MODELS).items():
        if name == "net" and find_spec("torch") is None:
            skipped[name] = "torch is not installed"
            continue
        whole = new_trainer(settings, stream.schema, BINARY, threads=1).train(parts[0])
        forms = {"before": whole}
        for target in _OF[name]:
            started = time.perf_counter()
            done = compress(whole, *parts[:2], _TARGETS[target], project, threads=1)
            samples[f"{name}/{target}/seconds"] = ("s", [time.perf_counter() - started])
            forms[target] = done.model
        made = _measured(name, forms, parts[2], project, 1 if quick else 9)
        samples |= made
        ratios |= _ratios(name, made)
        equal = equal and all(_equal(form, parts[2], project) for form in forms.values())
    return result(
        "compression", samples, equal=equal, ratios=ratios, skipped=skipped,
        versions=own_versions("lightgbm", "numpy", "onnx", "onnxruntime"),
    )  # fmt: skip


def _few_clicks() -> Stream:
    return simulate_clicks(
        ClickSettings(6_000, 1.0, users=300, advertisements=60, sites=20, half_life_ms=2 * HOUR_MS)
    )


def _parts(stream: Stream, quick: bool) -> Parts:
    """What is learned, what methods are chosen on, and what is told of."""
    every = TrainingRows.of(stream.vectors, stream.labels)
    if quick:
        ends = [len(stream) // 2, 3 * len(stream) // 4]
    else:
        months = (month_start_ms(month) for month in (_SETTLED_FROM, _TESTED_FROM))
        ends = [int(np.searchsorted(stream.times, start)) for start in months]
    first, chosen, told = np.split(np.arange(len(stream)), ends)
    return every.take(first), every.take(chosen), every.take(told)


def _measured(
    name: str, forms: dict[str, ModelFile], told: TrainingRows, project: Project, rounds: int
) -> Samples:
    found: Samples = {}
    frozen = {form: read_model(model, project) for form, model in forms.items()}
    for form, model in forms.items():
        scores = predict_all(frozen[form], told.vectors)
        found[f"{name}/{form}/bytes"] = ("B", [float(len(model))])
        found[f"{name}/{form}/log_loss"] = ("nats", [loss_of(scores, told, "binary")])
        found[f"{name}/{form}/auc"] = ("1", [auc(told.labels, scores) or 0.0])
    for _ in range(rounds):
        for form, one in frozen.items():
            latency = measure(one, told.vectors, time.perf_counter)
            for kind in ("single", "batch"):
                place = found.setdefault(f"{name}/{form}/{kind}_row", ("us", []))
                place[1].append(getattr(latency, kind))
    return found


def _ratios(name: str, found: Samples) -> dict[str, float]:
    made: dict[str, float] = {}
    for target in _OF[name]:
        for kind in ("bytes", "single_row"):
            before, after = (median(found[f"{name}/{f}/{kind}"][1]) for f in ("before", target))
            made[f"{name}_{target}_{kind}"] = before / after
    return made


def _equal(model: ModelFile, told: TrainingRows, project: Project) -> bool:
    vectors = told.vectors[:_ONNX_ROWS]
    check_onnx(to_onnx(model, project), model, project, vectors)
    if model.name != TREES_FILE:
        return True
    booster: Any = lightgbm.Booster(model_str=model.data.decode())
    theirs = booster.predict(vectors, num_threads=1)
    return bool(np.abs(theirs - read_model(model, project).predict_many(vectors)).max() < 1e-9)
