"""Nets with weights of 8 bits: written from a network, and read back as arrays of floats.

    scale = largest absolute weight / 127; code = round(weight / scale)

One scale for each unit of a layer and for each embedding (Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 2.1, with
zero point 0; per channel as in Krishnamoorthi, "Quantizing deep convolutional networks for
efficient inference", 2018, section 2.3). Biases stay as they are.

What the optimizer's sums need is coarse: a layer has the sums of its rows and of its columns, of
which each weight's is the product over the total (Shazeer and Stern, "Adafactor", ICML 2018,
section 3), an embedding one number for all its weights (`learners.coarse`).
Weights become floats again when a release is read, and from then on nothing differs from another
net: a learner starts at exactly what the release predicts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.coarse import from_bytes, to_bytes
from learners.net.shape import NetShape
from learners.net.table import RARE
from tidemill.errors import ArtifactError

FORMAT_INT8 = "tidemill net int8 1"

_MOST = 127
_BITS = np.int64(0xFFFFFFFF)
_OF_LAYERS: dict[str, type] = {
    "codes": np.int8, "scales": np.float32, "biases": np.float32, "bias_sums": np.float32,
    "row_sums": np.float32, "column_sums": np.float32,
}  # fmt: skip

Arrays = dict[str, NDArray[Any]]
Floats32 = NDArray[np.float32]


def quantized(weights: Floats32, axis: int) -> tuple[NDArray[np.int8], Floats32]:
    """Codes of a matrix, and the scale of each of its parts along the axis."""
    largest = np.abs(weights).max(axis=1 - axis, initial=0)
    scales = (largest / np.float32(_MOST)).astype(np.float32)
    safe = np.expand_dims(np.where(scales > 0, scales, 1), 1 - axis)
    return np.clip(np.rint(weights / safe), -_MOST, _MOST).astype(np.int8), scales


def dequantized(codes: NDArray[np.int8], scales: Floats32, axis: int) -> Floats32:
    """The weights of codes."""
    with np.errstate(invalid="ignore"):  # a scale that is no number is refused by who reads
        return np.asarray(codes.astype(np.float32) * np.expand_dims(scales, 1 - axis))


def compacted(shape: NetShape, arrays: Arrays) -> Arrays:
    """The arrays of a float net (see `net_bytes`), with 8 bits a weight."""
    keys = arrays["keys"]
    made: Arrays = {"moments": arrays["moments"].astype(np.float32)}
    ids = keys[len(shape.categorical) :]
    order = np.concatenate(
        [np.arange(len(shape.categorical)), len(keys) - len(ids) + np.argsort(ids)]
    )
    counts = np.bincount(ids >> 32, minlength=len(shape.categorical))
    made["ids"] = (np.sort(ids) & _BITS).astype(np.uint32)
    made["id_counts"] = counts.astype(np.int64)
    embeddings = arrays["embeddings"][order]
    made["embeddings"], made["embedding_scales"] = quantized(embeddings, 0)
    sums = arrays["embedding_sums"][order].astype(np.float64)
    made["embedding_sums"] = to_bytes(np.exp(np.log(sums).mean(axis=1)))
    pairs = zip(shape.layers(arrays["dense"]), shape.layers(arrays["dense_sums"]), strict=True)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _OF_LAYERS}
    for (weights, biases), (sums, bias_sums) in pairs:
        each = (
            *quantized(weights, 1), biases, bias_sums,
            sums.sum(axis=1, dtype=np.float64), sums.sum(axis=0, dtype=np.float64),
        )  # fmt: skip
        for name, part in zip(_OF_LAYERS, each, strict=True):
            parts[name].append(part.ravel())
    return made | {name: np.concatenate(parts[name]).astype(_OF_LAYERS[name]) for name in parts}


def expanded(shape: NetShape, arrays: Arrays) -> Arrays:
    """What `compacted` made, as the arrays of a float net. Raises ArtifactError."""
    counts = _read(arrays, "id_counts", np.int64, (len(shape.categorical),))
    if (counts < 0).any():
        raise ArtifactError("net id_counts: found one below 0; allowed: 0 or more")
    ids = _read(arrays, "ids", np.uint32, (int(counts.sum()),))
    columns = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    keys = np.concatenate([np.full(len(counts), RARE), columns << 32 | ids])
    rows, width = len(keys), shape.embedding
    codes = _read(arrays, "embeddings", np.int8, (rows, width))
    scales = _read(arrays, "embedding_scales", np.float32, (rows,))
    sums = from_bytes(_read(arrays, "embedding_sums", np.uint8, (rows,))).astype(np.float32)
    dense, dense_sums = np.empty((2, shape.dense_length), np.float32)
    _fill(shape, arrays, dense, dense_sums)
    numbers = len(shape.numeric_places)
    return {
        "dense": dense,
        "dense_sums": dense_sums,
        "moments": _read(arrays, "moments", np.float32, (3, numbers)).astype(np.float64),
        "keys": keys,
        "embeddings": dequantized(codes, scales, 0),
        "embedding_sums": np.repeat(sums[:, None], width, axis=1),
    }


def _fill(shape: NetShape, arrays: Arrays, dense: Floats32, dense_sums: Floats32) -> None:
    places = zip(
        shape.layers(dense), shape.layers(dense_sums), layers_of(shape, arrays), strict=True
    )
    for (weights, biases), (sums, bias_sums), layer in places:
        weights[:] = dequantized(layer["codes"], layer["scales"], 1)
        biases[:], bias_sums[:] = layer["biases"], layer["bias_sums"]
        rows, columns = (layer[name].astype(np.float64) for name in ("row_sums", "column_sums"))
        total = columns.sum()
        sums[:] = np.outer(rows, columns) / total if total > 0 else 0


def layers_of(shape: NetShape, arrays: Arrays) -> list[Arrays]:
    """The arrays of each layer: `codes` (in, out), `scales` (out,) …. Raises ArtifactError."""
    sizes = shape.sizes.tolist()
    found: list[Arrays] = [{} for _ in sizes[1:]]
    for name, dtype in _OF_LAYERS.items():
        sides = [
            (wide, units) if name == "codes" else (wide,) if name == "row_sums" else (units,)
            for wide, units in zip(sizes[:-1], sizes[1:], strict=True)
        ]
        lengths = [math.prod(each) for each in sides]
        every = np.split(_read(arrays, name, dtype, (sum(lengths),)), np.cumsum(lengths)[:-1])
        for layer, part, each in zip(found, every, sides, strict=True):
            layer[name] = part.reshape(each)
    return found


def _read(arrays: Arrays, name: str, dtype: type, sides: tuple[int, ...]) -> NDArray[Any]:
    found = arrays.get(name)
    if found is None or found.dtype != dtype or found.shape != sides:
        described = "nothing" if found is None else f"{found.dtype} {found.shape}"
        raise ArtifactError(f"net {name}: found {described}; allowed: {dtype.__name__} {sides}")
    return found
