"""A model of a user's own trainer, frozen."""

from __future__ import annotations

import hashlib
from typing import cast

import msgspec
import numpy as np

from learners.learner import Scores, Vectors
from tidemill.declaration import Project
from tidemill.errors import ArtifactError
from tidemill.own_model import ModelMaker, RawModel
from tidemill.tasks import Task
from tidemill.trainer_kinds import OwnModel

_MOST_RAW = 700.0  # beyond it exp overflows, and the probability is 0 or 1 long before


class OwnRelease(msgspec.Struct, frozen=True, kw_only=True, tag="own-1"):
    """A model as msgpack: which declared trainer made it with what, and its bytes.

    `unit` is what raw values are measured in: 1 for log-odds, else how far predictions spread.
    """

    trainer: str
    settings: list[tuple[str, float | int | str]]
    features: tuple[str, ...]
    unit: float
    model: bytes


class FrozenOwn:
    """A release by a trainer that the project declares; as safe from threads as its model is."""

    def __init__(self, release: OwnRelease, raw: RawModel, task: Task, digest: str) -> None:
        self.task, self.digest = task, digest
        self.features, self.unit = release.features, release.unit
        self._raw, self._trainer = raw, release.trainer

    @classmethod
    def parse(cls, data: bytes, project: Project) -> FrozenOwn:
        """Read what `OwnRelease` says. Raises ArtifactError for anything else."""
        try:
            release = msgspec.msgpack.decode(data, type=OwnRelease)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"own model: {error}") from error
        declared = declared_trainer(project, release.trainer)
        try:
            raw = maker_of(declared, dict(release.settings)).load(release.model)
        except Exception as error:
            raise ArtifactError(f"own model {release.trainer}: load: {error!r}") from error
        return cls(release, raw, project.task, hashlib.sha256(data).hexdigest())

    def raw_many(self, vectors: Vectors) -> Scores:
        """Log-odds or values (rows,). Raises ArtifactError for what is not one for each row."""
        try:
            raw = np.asarray(self._raw(vectors), np.float64)
        except Exception as error:
            raise ArtifactError(f"own model {self._trainer}: {error!r}") from error
        if raw.shape != (len(vectors),):
            raise ArtifactError(
                f"own model {self._trainer}: found {raw.shape}; allowed: ({len(vectors)},)"
            )
        return raw

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities or values."""
        raw = self.raw_many(vectors)
        if self.task.kind == "regression":
            return raw
        return np.asarray(1 / (1 + np.exp(-np.clip(raw, -_MOST_RAW, _MOST_RAW))))


def maker_of(declared: OwnModel, settings: dict[str, float | int | str]) -> ModelMaker:
    """What trains and reads the models of a declared trainer, made with these settings."""
    return cast(ModelMaker, declared.make(**settings))


def declared_trainer(project: Project, name: str) -> OwnModel:
    for trainer in project.trainers:
        if isinstance(trainer, OwnModel) and trainer.name == name:
            return trainer
    names = [trainer.name for trainer in project.trainers if isinstance(trainer, OwnModel)]
    raise ArtifactError(
        f"own model: found one of trainer {name}; allowed: one that the project declares "
        f"({', '.join(names) or 'none'})"
    )
