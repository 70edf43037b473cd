"""A release as ONNX, for those who serve it elsewhere, and the proof that it answers the same.

    data = to_onnx(model, project)
    check_onnx(data, model, project, vectors)

The graphs are made here of the arrays that the learners read, and not by a converter: ONNX knows
sets of categories in trees since version 5 of its machine-learning operators, which onnxmltools and
skl2onnx do not write (they make one node of every category), nor hummingbird (no categories);
they round thresholds to the nearest float32, which moves vectors that lie on one; and torch.onnx
would need torch and knows none of what surrounds a net here: ids looked up, missing numbers,
standardisation. Input is `vectors` float32 (rows, features), NaN where a value is missing; outputs
are `prediction` and `raw`, float64.
"""

from __future__ import annotations

import importlib.util

import msgspec
import numpy as np

from learners.learner import Scores, Vectors
from learners.linear.frozen import FrozenLinear
from learners.net.frozen_net import FrozenNet
from learners.net.int8 import FORMAT_INT8
from learners.own_model import OwnRelease, declared_trainer, maker_of
from learners.release import ModelFile, read_model
from learners.tensor_file import read_tensors
from learners.trees import FrozenTrees
from tidemill.declaration import Project
from tidemill.errors import ArtifactError, DeclarationError, SettingsError

TOLERANCE = 1e-5
"""How far a probability may be from our own; of values, in units of how far they spread."""

_MOST_ROWS = 2000  # in one call


def to_onnx(model: ModelFile, project: Project) -> bytes:
    """The model as ONNX bytes; equal models give equal bytes.

    Raises SettingsError without the extra `onnx`, DeclarationError for a model of a trainer of
    one's own whose maker has no `onnx(model) -> bytes`, ArtifactError for a damaged model.
    """
    _require("onnx")
    frozen = read_model(model, project)
    from batch.onnx_graphs.graph import Graph
    from batch.onnx_graphs.linear import linear_graph
    from batch.onnx_graphs.net import net_graph
    from batch.onnx_graphs.trees import trees_graph

    graph = Graph()
    if isinstance(frozen, FrozenTrees):
        raw = trees_graph(graph, frozen.arrays)
    elif isinstance(frozen, FrozenLinear):
        raw = linear_graph(graph, frozen)
    elif isinstance(frozen, FrozenNet):
        arrays, words = read_tensors(model.data)
        int8 = arrays if words["format"] == FORMAT_INT8 else None
        raw = net_graph(graph, frozen.network, int8)
    else:
        return _own(model, project)
    words = {"digest": frozen.digest, "task": frozen.task.kind}
    made = graph.model(raw, frozen.task.kind, frozen.features, words)
    return bytes(made.SerializeToString(deterministic=True))


def check_onnx(
    data: bytes, model: ModelFile, project: Project, vectors: Vectors, tolerance: float = TOLERANCE
) -> float:
    """How far ONNX predictions are from our own at most, over vectors (rows, features).

    For values in units of how far they spread. Raises ArtifactError for more than `tolerance` and
    for a graph that cannot be run, SettingsError without the extra `onnx`.
    """
    frozen = read_model(model, project)
    expected = frozen.predict_many(vectors)
    found = predict_onnx(data, vectors)
    if found.shape != expected.shape:
        raise ArtifactError(f"onnx: found shape {found.shape}; allowed: {expected.shape}")
    values = frozen.task.kind == "regression" and len(expected) > 0
    unit = max(1.0, float(np.std(expected))) if values else 1.0
    distance = float(np.abs(found - expected).max(initial=0)) / unit
    if not distance <= tolerance:
        raise ArtifactError(f"onnx: found a distance of {distance:g}; allowed: {tolerance:g}")
    return distance


def predict_onnx(data: bytes, vectors: Vectors) -> Scores:
    """What an exported model predicts for vectors (rows, features), by onnxruntime."""
    _require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        parts = [
            session.run(["prediction"], {"vectors": vectors[start : start + _MOST_ROWS]})[0]
            for start in range(0, len(vectors), _MOST_ROWS)
        ]
    except Exception as error:  # it raises whatever pybind makes of a C++ status
        raise ArtifactError(f"onnx: {error}") from error
    return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)


def _own(model: ModelFile, project: Project) -> bytes:
    release = msgspec.msgpack.decode(model.data, type=OwnRelease)
    maker = maker_of(declared_trainer(project, release.trainer), dict(release.settings))
    export = getattr(maker, "onnx", None)
    if export is None:
        found, allowed = type(maker).__name__, "a maker with onnx(model) -> bytes, to be exported"
        raise DeclarationError(f"OwnModel {release.trainer}.make", found, allowed)
    data = export(release.model)
    if not isinstance(data, bytes):
        raise DeclarationError(
            f"OwnModel {release.trainer}.make: onnx",
            type(data).__name__,
            "a method that gives bytes",
        )
    return data


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SettingsError(f"{package}: found nothing; allowed: pip install 'tidemill[onnx]'")
