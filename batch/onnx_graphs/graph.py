"""Puts an ONNX graph together, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

INPUT, RAW, PREDICTION = "vectors", "raw", "prediction"
"""The graph's input (rows, features) float32, and its outputs float64."""

# Set membership in trees came with version 5 of the machine-learning operators.
_OPSET, _ML_OPSET, _IR = 21, 5, 10
ML = "ai.onnx.ml"


class Graph:
    """Nodes so far; a method adds one and returns the name of what it makes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The first output of a new node."""
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(operator, list(inputs), [name], name, domain=domain, **attributes)
        )
        return name

    def constant(self, values: ArrayLike, dtype: type | None = None) -> str:
        """An array of the model."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def cast(self, name: str, dtype: type) -> str:
        """The same numbers in another type."""
        return self.add("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def columns(self, name: str, places: ArrayLike) -> str:
        """Some columns of a matrix."""
        return self.add("Gather", name, self.constant(places, np.int64), axis=1)

    def finite(self, name: str) -> str:
        """Where numbers are neither missing nor infinite."""
        return self.add("Not", self.add("Or", self.add("IsNaN", name), self.add("IsInf", name)))

    def model(
        self, raw: str, kind: str, features: Sequence[str], words: Mapping[str, str]
    ) -> onnx.ModelProto:
        """The model that answers with `raw` float64, (rows, 1) or (rows, classes)."""
        several = kind == "multiclass"
        self._output(
            raw if several else self.add("Squeeze", raw, self.constant([1], np.int64)), RAW
        )
        if kind == "regression":
            self._output(RAW, PREDICTION)
        else:
            made = self.add("Softmax", RAW, axis=1) if several else self.add("Sigmoid", RAW)
            self._output(made, PREDICTION)
        sides = ["rows", "classes"] if several else ["rows"]
        vectors = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", len(features)])
        graph = helper.make_graph(
            self._nodes,
            "tidemill",
            [vectors],
            [
                helper.make_tensor_value_info(name, TensorProto.DOUBLE, sides)
                for name in (PREDICTION, RAW)
            ],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(ML, _ML_OPSET)]
        made_model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR, producer_name="tidemill"
        )
        helper.set_model_props(made_model, {"features": "\n".join(features), **words})
        return made_model

    def _output(self, name: str, output: str) -> None:
        self._nodes.append(helper.make_node("Identity", [name], [output], output))
