"""Examples a second of the head on 200 trees, and CPU per row of the leaves against LightGBM's own.

One thread each, 200 trees of 63 leaves on 60 features, two of them categorical. Leaves are asked
for in calls of 1, 16 and 64 rows: what scoring does. `c_api` is LightGBM's `PredictForMat` called
through ctypes, `booster` its Python package. River and Vowpal Wabbit are not timed here: neither
has a linear head on trees that were grown elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from learners.tree_head import TreeHead
from learners.trees import FrozenTrees

TREES, LEAVES, FEATURES, TRAINING_ROWS = 200, 63, 60, 20_000
BATCHES = (1, 16, 64)
LEARN_BATCH = 512
_LEAF_INDEX, _FLOAT32, _ROW_MAJOR = 2, 0, 1  # of LightGBM's c_api.h
_PARAMETERS = b"num_threads=1"

Vectors = NDArray[np.float32]
Leaves = Callable[[Vectors], NDArray[Any]]


def make_release(rows: int) -> tuple[lightgbm.Booster, Vectors, NDArray[np.int8]]:
    """A trained model with vectors and labels it has not seen; a tenth of the values missing."""
    random = np.random.default_rng(7)
    vectors = random.normal(size=(TRAINING_ROWS + rows, FEATURES)).astype(np.float32)
    vectors[random.random(vectors.shape) < 0.1] = np.nan
    vectors[:, :2] = random.integers(0, 300, (len(vectors), 2))
    odds = np.nan_to_num(vectors[:, 2:12]).sum(axis=1) * 0.4 + vectors[:, 0] % 3 - 1
    labels = (random.random(len(vectors)) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    seen = slice(0, TRAINING_ROWS)
    data = lightgbm.Dataset(vectors[seen], labels[seen], categorical_feature=[0, 1])
    settings = {"objective": "binary", "num_leaves": LEAVES, "learning_rate": 0.05, "verbose": -1}
    booster = lightgbm.train(settings, data, TREES)
    return booster, vectors[TRAINING_ROWS:], labels[TRAINING_ROWS:]


def c_api(text: bytes) -> Leaves:
    """LightGBM's own predictor without its Python package around each call."""
    library = lightgbm.basic._LIB  # type: ignore[attr-defined]
    handle, trees = ctypes.c_void_p(), ctypes.c_int()
    library.LGBM_BoosterLoadModelFromString(text, ctypes.byref(trees), ctypes.byref(handle))

    def leaves(vectors: Vectors) -> NDArray[np.int32]:
        numbers, length = np.empty((len(vectors), TREES)), ctypes.c_int64()
        source, target = (ctypes.c_void_p(array.ctypes.data) for array in (vectors, numbers))
        failed = library.LGBM_BoosterPredictForMat(
            handle, source, _FLOAT32, len(vectors), FEATURES, _ROW_MAJOR, _LEAF_INDEX, 0, -1,
            _PARAMETERS, ctypes.byref(length), target,
        )  # fmt: skip
        if failed:
            raise RuntimeError("LGBM_BoosterPredictForMat failed")
        return numbers.astype(np.int32)

    return leaves


def seconds_per_row(leaves: Leaves, vectors: Vectors, batch: int) -> float:
    """Wall time of asking for all rows in calls of `batch` rows, divided by the rows."""
    started = time.perf_counter()
    for start in range(0, len(vectors), batch):
        leaves(vectors[start : start + batch])
    return (time.perf_counter() - started) / len(vectors)


def examples_per_second(trees: FrozenTrees, vectors: Vectors, labels: NDArray[np.int8]) -> float:
    """Predict-then-learn from vectors to weights, leaves included, in micro-batches."""
    head = TreeHead.warm_start(trees, learning_rate=0.002)
    started = time.perf_counter()
    for start in range(0, len(vectors), LEARN_BATCH):
        rows = slice(start, start + LEARN_BATCH)
        head.learn_many(vectors[rows], labels[rows])
    return len(vectors) / (time.perf_counter() - started)


def _measure(values: list[float], unit: str) -> dict[str, object]:
    samples = [round(value, 2) for value in values]
    return {"value": float(np.median(samples)), "unit": unit, "samples": samples}


def _result(found: dict[str, list[float]], equal: bool) -> dict[str, object]:
    learned = found.pop("head_learn")
    measures = {name: _measure([s * 1e6 for s in times], "us") for name, times in found.items()}
    medians = {name: float(np.median(times)) for name, times in found.items()}
    ratios = {
        f"{peer}_{batch}": round(medians[f"{peer}_{batch}"] / medians[f"ours_{batch}"], 2)
        for peer in ("c_api", "booster")
        for batch in BATCHES
    }
    packages = ("lightgbm", "numba", "numpy")
    return {
        "benchmark": "learn",
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "answers_equal": equal,
        "measures": {"head_examples": _measure(learned, "1/s"), **measures},
        "ratios": ratios,
        "skipped": {},
    }


def run(quick: bool) -> dict[str, object]:
    """Compare the leaves, then time ours and LightGBM's in turn."""
    rows, rounds = (1_000, 1) if quick else (4_000, 7)
    booster, vectors, labels = make_release(rows)
    text = booster.model_to_string().encode()
    trees = FrozenTrees.parse(text)
    ways: dict[str, Leaves] = {
        "ours": trees.leaves,
        "c_api": c_api(text),
        "booster": lambda some: np.asarray(booster.predict(some, pred_leaf=True, num_threads=1)),
    }
    local = trees.leaves(vectors) - trees.offsets
    equal = all(np.array_equal(local, ways[name](vectors)) for name in ("c_api", "booster"))
    examples_per_second(trees, vectors[:10], labels[:10])  # compile
    found: dict[str, list[float]] = {"head_learn": []}
    for _ in range(rounds):
        found["head_learn"].append(examples_per_second(trees, vectors, labels))
        for batch in BATCHES:
            for name, leaves in ways.items():
                taken = seconds_per_row(leaves, vectors, batch)
                found.setdefault(f"{name}_{batch}", []).append(taken)
    return _result(found, equal)
