"""Linear releases: standardised numbers times weights, and the weights of categories looked up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batch.onnx_graphs.graph import INPUT, ML, Graph
from batch.onnx_graphs.probes import values_of_keys
from learners.linear.encoding import FARTHEST, Encoder
from learners.linear.frozen import FrozenLinear

_FIELDS = 8388608.0  # 2^23: where a float32's exponent begins
_MISSING = 0x7FC00000
_MIXERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def linear_graph(graph: Graph, frozen: FrozenLinear) -> str:
    """Raw scores (rows, outputs), summed in float64 as `learners.linear` sums them."""
    encoder = frozen.encoder()
    numeric = [n for n, name in enumerate(frozen.features) if name not in frozen.categorical]
    categorical = [n for n, name in enumerate(frozen.features) if name in frozen.categorical]
    rows = graph.add("Shape", INPUT, end=1)
    outputs = frozen.weights.shape[1]
    sides = graph.add("Concat", rows, graph.constant([1], np.int64), axis=0)
    raw = graph.add("Expand", graph.constant(frozen.weights[0]), sides)
    if numeric:
        raw = graph.add("Add", raw, _numbers(graph, frozen.weights, encoder, numeric))
    base = 1 + 2 * len(numeric)
    if not categorical:
        return raw
    if encoder.hash_bits is None:
        slots = _numbered(graph, encoder, categorical)
    else:
        slots = _hashed(graph, encoder.hash_bits, categorical)
    return graph.add("Add", raw, _looked_up(graph, slots, frozen.weights[base:], outputs))


def _numbers(
    graph: Graph, weights: NDArray[np.float64], encoder: Encoder, places: list[int]
) -> str:
    counts, means, squares = encoder.moments[places].T
    varied = squares > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(varied, np.sqrt(squares / counts), 1.0)
    found = graph.cast(graph.columns(INPUT, places), np.float64)
    known = graph.finite(found)
    moved = graph.add("Sub", found, graph.constant(means))
    scaled = graph.add("Div", moved, graph.constant(spread))
    far = graph.constant(FARTHEST, np.float64)
    cut = graph.add("Clip", scaled, graph.constant(-FARTHEST, np.float64), far)
    zero = graph.constant(0.0, np.float64)
    kept = graph.add("Where", graph.add("And", known, graph.constant(varied)), cut, zero)
    # The learner's pairs are float32.
    values = graph.cast(graph.cast(kept, np.float32), np.float64)
    missing = graph.cast(graph.add("Not", known), np.float64)
    slots = 1 + 2 * np.arange(len(places))
    return graph.add(
        "Add",
        graph.add("MatMul", values, graph.constant(weights[slots])),
        graph.add("MatMul", missing, graph.constant(weights[slots + 1])),
    )


def _looked_up(graph: Graph, slots: str, weights: NDArray[np.float64], outputs: int) -> str:
    """The summed weights of slots (rows, columns); -1 and empty slots count nothing."""
    used = np.flatnonzero((weights != 0).any(axis=1))
    table = np.concatenate([np.zeros((1, outputs)), weights[used]])
    if not len(used):
        used = np.array([0])
    places = graph.add(
        "LabelEncoder", slots, domain=ML, keys_int64s=used.tolist(),
        values_int64s=(1 + np.arange(len(used))).tolist() if len(table) > 1 else [0],
        default_int64=0,
    )  # fmt: skip
    found = graph.add("Gather", graph.constant(table), places, axis=0)
    return graph.add("ReduceSum", found, graph.constant([1], np.int64), keepdims=0)


def _numbered(graph: Graph, encoder: Encoder, places: list[int]) -> str:
    """Each category's number, -1 for one that was never learned."""
    keys = encoder.keys
    columns, values = keys >> np.uint64(32), values_of_keys(keys)
    found = []
    for place in places:
        mine = np.flatnonzero(columns == place)
        column = graph.columns(INPUT, [place])
        found.append(looked_up(graph, column, values[mine], mine, -1))
    return graph.add("Concat", *found, axis=1)


def looked_up(  # noqa: PLR0913  a table has keys, values and what is said of others
    graph: Graph,
    column: str,
    keys: NDArray[np.float32],
    numbers: NDArray[np.int64],
    otherwise: int,
) -> str:
    """The numbers of float32 values (NaN is one), `otherwise` for those not among the keys."""
    if not len(keys):  # a table needs a key
        keys, numbers = np.zeros(1, np.float32), np.array([otherwise])
    return graph.add(
        "LabelEncoder", column, domain=ML, keys_floats=keys.tolist(),
        values_int64s=numbers.tolist(), default_int64=otherwise,
    )  # fmt: skip


def _hashed(graph: Graph, hash_bits: int, places: list[int]) -> str:
    """Each category's slot among 2^hash_bits: SplitMix64 of its column and its float32 bits."""
    bits = _bits(graph, graph.cast(graph.columns(INPUT, places), np.float64))
    above = graph.constant(np.array(places, np.int64) << 32)
    key = graph.cast(graph.add("Add", bits, above), np.uint64)
    for shift, factor in _MIXERS:
        key = graph.add("Mul", _folded(graph, key, shift), graph.constant(factor, np.uint64))
    mask = graph.constant((1 << hash_bits) - 1, np.uint64)
    return graph.cast(graph.add("BitwiseAnd", _folded(graph, key, 31), mask), np.int64)


def _folded(graph: Graph, key: str, shift: int) -> str:
    moved = graph.add("BitShift", key, graph.constant(shift, np.uint64), direction="RIGHT")
    return graph.add("BitwiseXor", key, moved)


def _bits(graph: Graph, numbers: str) -> str:
    """The float32 bits of numbers as int64, by arithmetic: no operator reads a number's bits.

    The exponent's field is how many of the powers 2^-126 … 2^128 a number reaches.
    """
    size = graph.add("Abs", numbers)
    powers = graph.constant(2.0 ** np.arange(-126, 129, dtype=np.float64))
    each = graph.add("Unsqueeze", size, graph.constant([-1], np.int64))
    reached = graph.cast(graph.add("GreaterOrEqual", each, powers), np.int64)
    field = graph.add("ReduceSum", reached, graph.constant([-1], np.int64), keepdims=0)
    fields = np.arange(256, dtype=np.float64)
    scales = np.where(fields == 0, 2.0**149, 2.0 ** (150 - fields))
    scale = graph.add("Gather", graph.constant(scales), field, axis=0)
    zero = graph.constant(0.0, np.float64)
    finite = graph.add("Where", graph.finite(numbers), size, zero)
    whole = graph.cast(graph.add("Mul", finite, scale), np.int64)
    # What a normal number's field stands for is in `whole` once already, as its hidden first bit.
    fewer = np.maximum(fields - 1, 0) * _FIELDS
    fewer[255] = 255 * _FIELDS
    above = graph.add("Gather", graph.constant(fewer.astype(np.int64)), field, axis=0)
    sign = graph.cast(graph.add("Less", numbers, zero), np.int64)
    signed = graph.add("Mul", sign, graph.constant(1 << 31, np.int64))
    bits = graph.add("Add", graph.add("Add", whole, above), signed)
    missing = graph.constant(_MISSING, np.int64)
    return graph.add("Where", graph.add("IsNaN", numbers), missing, bits)
