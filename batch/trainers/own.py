"""Releases by a trainer that the project declares itself."""

from __future__ import annotations

import msgspec
import numpy as np

from batch.progress import Progress, Silent
from batch.trainers.trainer import TrainingRows, Watch
from learners.learner import checked_labels
from learners.own_model import OwnRelease, maker_of
from learners.release import OWN_FILE, ModelFile
from tidemill.errors import TidemillError, TrainingFailed
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task
from tidemill.trainer_kinds import OwnModel


class OwnTrainer:
    """Has the declared maker train, and keeps with its bytes what reading them takes."""

    steps = 1

    def __init__(
        self,
        settings: OwnModel,
        schema: FeatureSchema,
        task: Task,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.schema, self.task = settings, schema, task
        self._progress = progress or Silent()

    def train(
        self, rows: TrainingRows, stage: str = "train", watch: Watch | None = None
    ) -> ModelFile:
        """See `Trainer`. Whatever the maker raises is TrainingFailed."""
        labels = checked_labels(self.task, rows.labels, len(rows))
        self._progress.start(stage, self.steps)
        name = self.settings.name
        try:
            maker = maker_of(self.settings, dict(self.settings.settings))
            data = maker.train(rows.vectors, labels, rows.weights, self.schema, self.task)
            raw = np.asarray(maker.load(data)(rows.vectors), np.float64)
        except TidemillError:
            raise
        except Exception as error:
            raise TrainingFailed(f"OwnModel {name}: {error!r}") from error
        if not isinstance(data, bytes) or raw.shape != (len(rows),):
            found = f"{type(data).__name__}, and predictions {raw.shape}"
            raise TrainingFailed(f"OwnModel {name}: found {found}; allowed: bytes, ({len(rows)},)")
        spread = float(raw.std()) if self.task.kind == "regression" else 1.0
        release = OwnRelease(
            trainer=name,
            settings=list(self.settings.settings),
            features=self.schema.names,
            unit=spread or 1.0,
            model=data,
        )
        self._progress.advance()
        return ModelFile(OWN_FILE, msgspec.msgpack.encode(release))
