"""Nets: standardised numbers, where they miss, and looked-up embeddings through the layers.

Weights of 8 bits stay 8 bits in the file; what reads it makes floats of them as the learner does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.onnx_graphs.graph import INPUT, Graph
from batch.onnx_graphs.linear import looked_up
from batch.onnx_graphs.probes import values_of_keys
from learners.net.int8 import layers_of
from learners.net.layers import CLIP
from learners.net.network import Network

Arrays = dict[str, NDArray[Any]]


def net_graph(graph: Graph, network: Network, int8: Arrays | None) -> str:
    """Raw scores (rows, outputs); `int8` are the arrays of a net of 8 bits."""
    layers = layers_of(network.shape, int8) if int8 else [None] * len(network.layers)
    made = graph.add("Concat", *_inputs(graph, network, int8), axis=1)
    for number, (weights, biases) in enumerate(network.layers):
        if number:
            made = graph.add("Relu", made)
        known = _weights(graph, weights, layers[number], ("codes", "scales"), 1)
        made = graph.add("Add", graph.add("MatMul", made, known), graph.constant(biases))
    scale, center = (graph.constant(n, np.float64) for n in (network.scale, network.center))
    return graph.add("Add", graph.add("Mul", graph.cast(made, np.float64), scale), center)


def _inputs(graph: Graph, network: Network, int8: Arrays | None) -> list[str]:
    shape, parts = network.shape, []
    if len(shape.numeric_places):
        found = graph.cast(graph.columns(INPUT, shape.numeric_places), np.float64)
        known = graph.finite(found)
        moved = graph.add("Sub", found, graph.constant(network.scaling[0]))
        scaled = graph.add("Mul", moved, graph.constant(network.scaling[1]))
        low, high, zero = (graph.constant(n, np.float64) for n in (-CLIP, CLIP, 0))
        cut = graph.add("Where", known, graph.add("Clip", scaled, low, high), zero)
        parts += [graph.cast(cut, np.float32), graph.cast(graph.add("Not", known), np.float32)]
    if len(shape.categorical_places):
        rows = network.table.all_rows()
        values = np.ascontiguousarray(rows.values[:, : shape.embedding])
        names = ("embeddings", "embedding_scales")
        table = _weights(graph, values, int8, names, 0)
        for column, place in enumerate(shape.categorical_places.tolist()):
            mine = np.flatnonzero((rows.keys >= 0) & (rows.keys >> 32 == column))
            found = graph.add("Squeeze", graph.columns(INPUT, [place]), graph.constant([1]))
            keys = values_of_keys(rows.keys[mine])
            places = looked_up(graph, found, keys, rows.numbers[mine], column)
            parts.append(graph.add("Gather", table, places, axis=0))
    return parts


def _weights(
    graph: Graph,
    weights: NDArray[np.float32],
    int8: Arrays | None,
    names: tuple[str, str],
    axis: int,
) -> str:
    if int8 is None:
        return graph.constant(weights)
    # Not DequantizeLinear: onnxruntime makes integer products of that and a MatMul, and rounds what
    # comes in to 8 bits as well.
    codes = graph.cast(graph.constant(int8[names[0]]), np.float32)
    return graph.add("Mul", codes, graph.constant(np.expand_dims(int8[names[1]], 1 - axis)))
