"""The head on 200 trees: examples a second, and its leaves against LightGBM's own.

One thread each, 200 trees of 63 leaves on 60 features, two of them categorical. Leaves are asked
for in calls of 1, 16 and 64 rows: what scoring does. `c_api` is LightGBM's `PredictForMat` called
through ctypes, `booster` its Python package. River and Vowpal Wabbit are not timed here: neither
has a linear head on trees that were grown elsewhere.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from bench._result import Part, median, own_versions
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.learner_kinds import TreeHead as Settings

TREES, LEAVES, FEATURES, TRAINING_ROWS = 200, 63, 60, 20_000
BATCHES = (1, 16, 64)
LEARN_BATCH = 4096  # a worker that has much to learn takes 5,000 at once
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
    settings["num_threads"] = 1  # threads that wait for a busy core take minutes
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
    head = TreeHead.warm_start(trees, Settings())
    started = time.perf_counter()
    for start in range(0, len(vectors), LEARN_BATCH):
        rows = slice(start, start + LEARN_BATCH)
        head.learn_many(vectors[rows], labels[rows])
    return len(vectors) / (time.perf_counter() - started)


def _part(found: dict[str, list[float]], equal: bool) -> Part:
    learned = found.pop("head_learn")
    times = {
        name: ("us", [1e6 * taken for taken in taken_all]) for name, taken_all in found.items()
    }
    ratios = {
        f"{peer}_{batch}": median(found[f"{peer}_{batch}"]) / median(found[f"ours_{batch}"])
        for peer in ("c_api", "booster")
        for batch in BATCHES
    }
    return {
        "samples": {"head_examples": ("1/s", learned), **times},
        "ratios": ratios,
        "skipped": {},
        "versions": own_versions("lightgbm", "numba", "numpy"),
        "equal": equal,
    }


def head_rounds(quick: bool) -> Part:
    """Compare the leaves, then time ours and LightGBM's in turn."""
    rows, rounds = (1_000, 1) if quick else (8_192, 7)
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
    return _part(found, equal)
