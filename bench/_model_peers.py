"""What `bench model` compares with in our own environment: LightGBM, NumPy and torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.net.embedding_net import EmbeddingNet
from learners.net.layers import CLIP

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]
Predict = Callable[[Vectors], Scores]
_FLOAT32, _NORMAL, _ROW_MAJOR = 0, 0, 1  # LightGBM include/LightGBM/c_api.h


def booster_predict(booster: Any) -> Predict:
    """`Booster.predict` on one thread: with its default of all it takes milliseconds for a row."""

    def predict(vectors: Vectors) -> Scores:
        scores: Scores = booster.predict(vectors, num_threads=1)
        return scores

    return predict


class CApi:
    """LightGBM's C API through ctypes, a row by its fast path and several by the ordinary call.

    The fast path keeps what the call is about in a configuration that is made once.
    """

    def __init__(self, booster: Any, features: int, most: int) -> None:
        from lightgbm.libpath import _find_lib_path

        self._library = ctypes.CDLL(_find_lib_path()[0])
        self._booster, self._handle = booster, booster._handle
        self._features = ctypes.c_int32(features)
        self._length = ctypes.c_int64()
        self._fast = ctypes.c_void_p()
        self._scores = np.empty(most)
        self._result = self._scores.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        self._check(
            self._library.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._handle, _NORMAL, 0, -1, _FLOAT32, self._features, b"num_threads=1",
                ctypes.byref(self._fast),
            )
        )  # fmt: skip

    def _check(self, failed: int) -> None:
        if failed:
            raise RuntimeError("LightGBM's C API failed")

    def predict(self, vectors: Vectors) -> Scores:
        """Probabilities (rows,), valid until the next call; the vectors are C-contiguous."""
        rows = len(vectors)
        data, length = ctypes.c_void_p(vectors.ctypes.data), ctypes.byref(self._length)
        if rows == 1:
            self._check(
                self._library.LGBM_BoosterPredictForMatSingleRowFast(
                    self._fast, data, length, self._result
                )
            )
        else:
            self._check(
                self._library.LGBM_BoosterPredictForMat(
                    self._handle, data, _FLOAT32, ctypes.c_int32(rows), self._features, _ROW_MAJOR,
                    _NORMAL, 0, -1, b"num_threads=1", length, self._result,
                )
            )  # fmt: skip
        return self._scores[:rows]

    def close(self) -> None:
        """Free the configuration."""
        self._library.LGBM_FastConfigFree(self._fast)


def numpy_net(net: EmbeddingNet) -> Predict:
    """The same net in NumPy, with our look-up of ids."""
    network = net.network
    shape = network.shape
    numeric, scaling = shape.numeric_places, network.scaling.astype(np.float32)
    table, layers = np.ascontiguousarray(network.table.rows[:, : shape.embedding]), network.layers

    def predict(vectors: Vectors) -> Scores:
        numbers = vectors[:, numeric]
        missing = ~np.isfinite(numbers)
        scaled = np.where(missing, 0, (numbers - scaling[0]) * scaling[1]).clip(-CLIP, CLIP)
        ids = table[network.find(vectors)[0]].reshape(len(vectors), -1)
        values = np.concatenate([scaled, missing, ids], axis=1, dtype=np.float32)
        for weights, biases in layers[:-1]:
            values = np.maximum(values @ weights + biases, 0)
        raw = values @ layers[-1][0] + layers[-1][1]
        return 1 / (1 + np.exp(-raw[:, 0].astype(np.float64)))

    return predict


def torch_net(net: EmbeddingNet) -> Predict:
    """The same net in torch, eager, on one thread, with our look-up of ids."""
    import torch

    torch.set_num_threads(1)
    network = net.network
    shape = network.shape
    numeric = torch.from_numpy(shape.numeric_places)
    center, factor = torch.from_numpy(network.scaling.astype(np.float32))
    table = np.ascontiguousarray(network.table.rows[:, : shape.embedding])
    embeddings = torch.from_numpy(table)
    layers = []
    for weights, biases in network.layers:
        layer = torch.nn.Linear(*weights.shape)
        layer.weight.data = torch.from_numpy(np.ascontiguousarray(weights.T))
        layer.bias.data = torch.from_numpy(biases.copy())
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])

    def predict(vectors: Vectors) -> Scores:
        with torch.inference_mode():
            numbers = torch.from_numpy(vectors)[:, numeric]
            scaled = ((numbers - center) * factor).nan_to_num().clamp(-CLIP, CLIP)
            found = torch.from_numpy(network.find(vectors)[0])
            ids = torch.nn.functional.embedding(found, embeddings).flatten(1)
            inputs = torch.cat([scaled, numbers.isnan().float(), ids], 1)
            scores: Scores = torch.sigmoid(model(inputs)[:, 0]).numpy().astype(np.float64)
        return scores

    return predict
