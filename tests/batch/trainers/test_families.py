"""Every declared trainer gives a model that is read again, and its settings survive a run."""

from __future__ import annotations

import numpy as np
import pytest
from own_trainer import Nearest

from batch.trainers.families import new_trainer, settings_as_json, settings_from_json
from batch.trainers.trainer import TrainingRows
from learners.quality import auc
from learners.release import read_model
from tidemill import LightGBM, Linear, LinearModel, NetModel, OwnModel, Project
from tidemill.errors import ArtifactError, DeclarationError, TrainingFailed
from tidemill.schema import schema_of
from tidemill.trainer_kinds import TrainerKind

OWN = OwnModel("nearest", Nearest, (("scale", 2.0),))
TRAINERS = [
    LightGBM(leaves=7, rounds=10),
    LinearModel(hash_bits=6),
    NetModel(hidden=(8,), epochs=2),
    OWN,
]


def rows_of(project: Project, count: int = 2_000) -> TrainingRows:
    """Rows whose label follows x1."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(count, len(schema_of(project).names))).astype(np.float32)
    vectors[:, 0] = random.integers(0, 20, count)
    labels = vectors[:, 1] + random.normal(size=count) > 0
    return TrainingRows.of(vectors, labels)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
def test_a_model_is_read_again(make_project, trainer: TrainerKind) -> None:
    """It knows the task and the features, and ranks the rows; the same rows give its bytes."""
    project = make_project(trainer=trainer, learner=Linear())
    rows = rows_of(project)
    model = new_trainer(trainer, schema_of(project), project.task, 1).train(rows)
    frozen = read_model(model, project)
    assert (project.task, schema_of(project).names) == (frozen.task, frozen.features)
    assert 0.7 < auc(rows.labels, frozen.predict_many(rows.vectors))
    again = new_trainer(trainer, schema_of(project), project.task, 1).train(rows)
    assert model == again


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: type(trainer).__name__)
def test_settings_survive(trainer: TrainerKind) -> None:
    """What a run wrote down is what it goes on with."""
    assert trainer == settings_from_json(settings_as_json(trainer), [OWN])


@pytest.mark.parametrize(
    "data", [b"{", b"{}", b'{"trainer":"LightGBM","name":"","settings":{"leaves":1}}']
)
def test_damaged_settings_are_refused(data: bytes) -> None:
    """They are an artifact like any other."""
    with pytest.raises(ArtifactError, match="settings"):
        settings_from_json(data, [])


def test_an_own_trainer_that_is_not_declared_is_refused(project: Project) -> None:
    """Its code is the project's: without it nothing can be read."""
    model = new_trainer(OWN, schema_of(project), project.task).train(rows_of(project))
    with pytest.raises(ArtifactError, match="nearest; allowed: one that the project declares"):
        read_model(model, project)
    with pytest.raises(ArtifactError, match="settings"):
        settings_from_json(settings_as_json(OWN), [])


class Broken(Nearest):
    """Raises what a library would."""

    def train(self, vectors, labels, weights, schema, task) -> bytes:
        """Raise."""
        raise RuntimeError("no memory left")


class Wordy(Nearest):
    """Gives one prediction too many."""

    def load(self, model: bytes):
        """A model of the wrong shape."""
        return lambda vectors: np.zeros(len(vectors) + 1)


@pytest.mark.parametrize(
    ("make", "said"), [(Broken, "no memory left"), (Wordy, "allowed: bytes, "), (len, "len")]
)
def test_an_own_trainer_that_fails_says_so(make_project, make, said: str) -> None:
    """One line that names the trainer, whatever it raises."""
    own = OwnModel("mine", make)
    project = make_project(trainer=own, learner=Linear())
    with pytest.raises(TrainingFailed, match=f"OwnModel mine: .*{said}"):
        new_trainer(own, schema_of(project), project.task).train(rows_of(project))


def test_an_unknown_trainer_is_refused(project: Project) -> None:
    """With what is allowed."""
    with pytest.raises(DeclarationError, match="LightGBM, LinearModel, NetModel, OwnModel"):
        new_trainer(TrainerKind(), schema_of(project), project.task)
