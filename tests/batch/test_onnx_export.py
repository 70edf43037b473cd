"""Releases as ONNX answer what Tidemill answers, on thresholds, missing values and all."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from own_trainer import Nearest
from small_models import CASES, NAMES, SCHEMA, model_of, project_of, rows_of

from batch.compression.family import Material
from batch.compression.linear import compact_bytes
from batch.compression.net import fewer_rows, fewer_units
from batch.compression.trees import Trees
from batch.onnx_export import check_onnx, predict_onnx, to_onnx
from batch.onnx_graphs.probes import probes
from batch.trainers.families import new_trainer
from learners.lightgbm_text import parse_model
from learners.linear.frozen import FrozenLinear
from learners.net.frozen_net import FrozenNet, net_bytes
from learners.release import ModelFile, read_model
from tidemill import LightGBM, OwnModel
from tidemill.errors import ArtifactError, DeclarationError, SettingsError
from tidemill.tasks import BINARY, REGRESSION, Task

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def assert_equal(model: ModelFile, task: Task) -> None:
    """Real rows and rows on every threshold are answered alike."""
    project = project_of(task)
    data = to_onnx(model, project)
    assert data == to_onnx(model, project)
    onnx.checker.check_model(onnx.load_from_string(data))
    check_onnx(data, model, project, rows_of(task, 2).vectors)
    check_onnx(data, model, project, probes(read_model(model, project)))


@pytest.mark.parametrize(("family", "task"), CASES, ids=NAMES)
def test_a_release_answers_the_same(family: str, task: Task) -> None:
    """Every family and task, to 1e-5, missing and infinite numbers and unknown ids included."""
    assert_equal(model_of(family, task), task)


@pytest.mark.parametrize(("family", "task"), CASES, ids=NAMES)
def test_a_compressed_release_answers_the_same(family: str, task: Task) -> None:
    """Pruned and slim trees, nets of 8 bits, compact linear releases."""
    model, rows = model_of(family, task), rows_of(task)
    if family == "trees":
        made = Trees(Material(model, rows, 1)).variants("prune", 0.3)[-1]
    elif family == "net":
        network = FrozenNet.parse(model.data).network
        network = fewer_units(fewer_rows(network, rows.vectors, 0.5), rows.vectors, 0.5)
        made = ModelFile(model.name, net_bytes(network, int8=True))
    else:
        frozen = FrozenLinear.parse(model.data)
        used = np.flatnonzero((frozen.weights != 0).any(axis=1))
        made = ModelFile(model.name, compact_bytes(frozen, used, True))
    assert_equal(made, task)


def test_trees_are_equal_to_the_last_bits() -> None:
    """Sums are made in float64: values around 300 do not lose digits."""
    model, project = model_of("trees", REGRESSION), project_of(REGRESSION)
    vectors = rows_of(REGRESSION, 3).vectors
    assert check_onnx(to_onnx(model, project), model, project, vectors) < 1e-12


def test_the_reference_evaluator_agrees() -> None:
    """Not only onnxruntime reads the graph so."""
    from onnx.reference import ReferenceEvaluator

    model, project = model_of("trees", BINARY), project_of(BINARY)
    vectors = rows_of(BINARY, 2, 50).vectors
    data = to_onnx(model, project)
    found = ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"vectors": vectors})[0]
    np.testing.assert_allclose(found, predict_onnx(data, vectors), atol=1e-12)


def test_an_int8_net_is_a_small_graph() -> None:
    """Weights stay 8 bits in the file."""
    model = model_of("net", BINARY)
    network = FrozenNet.parse(model.data).network
    small = ModelFile(model.name, net_bytes(network, int8=True))
    whole, less = (len(to_onnx(one, project_of(BINARY))) for one in (model, small))
    assert less < whole


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.kind)
def test_trees_that_never_split(task: Task) -> None:
    """A release of constants is a constant."""
    trainer = LightGBM(leaves=2, rounds=2, min_rows_per_leaf=3000)
    model = new_trainer(trainer, SCHEMA, task, 1).train(rows_of(task))
    assert (parse_model(model.data).leaf_counts == 1).all()
    assert_equal(model, task)


def test_the_features_are_named() -> None:
    """Whoever serves the graph finds the columns' order in it."""
    made = onnx.load_from_string(to_onnx(model_of("net", BINARY), project_of(BINARY)))
    words = {entry.key: entry.value for entry in made.metadata_props}
    assert "\n".join(SCHEMA.names) == words["features"]
    assert ["vectors"] == [entry.name for entry in made.graph.input]
    assert ["prediction", "raw"] == [entry.name for entry in made.graph.output]


def test_another_model_is_told() -> None:
    """A graph of another release does not pass for this one."""
    project = project_of(BINARY)
    data = to_onnx(model_of("net", BINARY), project)
    with pytest.raises(ArtifactError, match="onnx: found a distance of .*; allowed: 1e-05"):
        check_onnx(data, model_of("trees", BINARY), project, rows_of(BINARY, 2).vectors)
    with pytest.raises(ArtifactError, match="onnx: "):
        predict_onnx(b"nothing", rows_of(BINARY, 2).vectors)


class Exported(Nearest):
    """Says what it is as ONNX."""

    def onnx(self, model: bytes) -> bytes:
        """Some bytes."""
        return b"graph of " + model[:2]


@pytest.mark.parametrize("make", [Nearest, Exported])
def test_a_trainer_of_ones_own(make: type[Nearest]) -> None:
    """Its maker may export; one that does not is named."""
    trainer = OwnModel("nearest", make)
    project = project_of(BINARY, trainer)
    model = new_trainer(trainer, SCHEMA, BINARY, 1).train(rows_of(BINARY, 4).take(slice(0, 500)))
    if make is Exported:
        assert to_onnx(model, project).startswith(b"graph of ")
        return
    with pytest.raises(DeclarationError, match="OwnModel nearest.make: found 'Nearest'; allowed"):
        to_onnx(model, project)


def test_the_extra_is_asked_for(monkeypatch) -> None:
    """Without onnx nothing is exported, and the message says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"tidemill\[onnx\]"):
        to_onnx(model_of("net", BINARY), project_of(BINARY))
