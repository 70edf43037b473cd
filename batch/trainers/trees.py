"""Gradient-boosted trees from a declaration's settings: the same data gives the same model text."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from batch.progress import Progress, Silent
from batch.trainers.averaged import averaged
from batch.trainers.binned import Binned
from batch.trainers.trainer import TrainingRows, Watch
from learners.learner import Scores, checked_labels
from learners.release import TREES_FILE, ModelFile
from tidemill.errors import TrainingFailed
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, Task
from tidemill.trainer_kinds import LightGBM

EACH_WATCHED, WATCHED_EVERY = 20, 5  # so many first rounds a watch sees, then every so many

_LOG = logging.getLogger(__name__)


class _Debug:
    """Takes LightGBM's messages for those who look for them."""

    def info(self, message: str) -> None:
        """Anything it says."""
        _LOG.debug(message)

    def warning(self, message: str) -> None:
        """A warning; what must not happen is checked by the gate."""
        _LOG.debug(message)


class TreesTrainer:
    """Trains models for one task on vectors of one schema; `threads` 0 means all cores.

    `champion` is the model whose trees are gone on from where the settings say so.
    """

    def __init__(  # noqa: PLR0913  what every trainer is made of
        self,
        settings: LightGBM,
        schema: FeatureSchema,
        task: Task = BINARY,
        threads: int = 0,
        progress: Progress | None = None,
        champion: ModelFile | None = None,
    ) -> None:
        self.settings, self.schema, self.task = settings, schema, task
        self._threads, self._progress = threads, progress or Silent()
        goes_on = settings.continued and champion is not None and champion.name == TREES_FILE
        self._champion = champion if goes_on else None
        self.binned: Binned | None = None
        """Where rows that are trained on several times are kept binned; None keeps none."""

    @property
    def steps(self) -> int:
        """Rounds."""
        return self.settings.rounds

    def train(
        self, rows: TrainingRows, stage: str = "train", watch: Watch | None = None
    ) -> ModelFile:
        """See `Trainer`; a step is a round. Of several copies the watch sees nothing."""
        labels = checked_labels(self.task, rows.labels, len(rows))
        # Hashed categories have gaps; it says so from threads that no verbosity setting reaches.
        lightgbm.register_logger(_Debug())
        parameters = self._parameters()
        data = self._data(rows, labels, parameters)
        self._progress.start(stage, self.steps * self.settings.copies)
        watch = watch if self.settings.copies == 1 else None
        texts = [
            self._trained(parameters | {"seed": self.settings.seed + copy}, data, watch)
            for copy in range(self.settings.copies)
        ]
        # How many cores there were decides nothing, and is not to change the bytes.
        text = re.sub(r"(?m)^\[num_threads: \d+\]$", "[num_threads: 0]", averaged(texts))
        return ModelFile(TREES_FILE, text.encode())

    def _trained(
        self, parameters: dict[str, Any], data: lightgbm.Dataset, watch: Watch | None
    ) -> str:
        try:
            booster = lightgbm.train(
                parameters,
                data,
                self.steps,
                init_model=self._start(),
                callbacks=[_Rounds(self._progress, watch, self._threads)],
            )
        except lightgbm.basic.LightGBMError as error:
            raise TrainingFailed(f"LightGBM: {error}") from error
        return str(booster.model_to_string())

    def _data(
        self, rows: TrainingRows, labels: NDArray[np.float64], parameters: dict[str, Any]
    ) -> lightgbm.Dataset:
        if self.binned is None or self._champion is not None:
            return self._made(rows, labels, parameters)
        # Else LightGBM drops features by one training's fewest rows in a leaf, for all of them.
        parameters["feature_pre_filter"] = False
        made = partial(self._made, rows, labels, parameters)
        data: lightgbm.Dataset = self.binned.of(rows, self.settings.bins, made)
        return data

    def _made(
        self, rows: TrainingRows, labels: NDArray[np.float64], parameters: dict[str, Any]
    ) -> lightgbm.Dataset:
        return lightgbm.Dataset(
            rows.vectors,
            labels,
            weight=None if (rows.weights == 1).all() else rows.weights,
            feature_name=list(self.schema.names),
            categorical_feature=list(self.schema.categorical),
            params=parameters,
            free_raw_data=self._champion is None,
        )

    def _start(self) -> Any:
        if self._champion is None:
            return None
        return lightgbm.Booster(model_str=self._champion.data.decode())

    def _parameters(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "objective": self.task.kind,
            "num_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "min_data_in_leaf": settings.min_rows_per_leaf,
            "feature_fraction": settings.feature_share,
            "bagging_fraction": settings.row_share,
            "bagging_freq": 1 if settings.row_share < 1 else 0,
            "lambda_l1": settings.l1,
            "lambda_l2": settings.l2,
            "max_bin": settings.bins,
            "seed": settings.seed,
            "num_threads": self._threads,
            # Row-wise or column-wise would otherwise be chosen by a stopwatch, and sums differ.
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


class _Rounds:
    """Called by LightGBM after each round."""

    order = 10
    before_iteration = False

    def __init__(self, progress: Progress, watch: Watch | None, threads: int) -> None:
        self._progress, self._watch, self._threads = progress, watch, threads
        self._scores: Scores | None = None
        self._shown = 0  # rounds that are in the scores

    def __call__(self, environment: Any) -> None:
        """Move the bar on, and let the watch see what the model says by now."""
        self._progress.advance()
        step = environment.iteration - environment.begin_iteration + 1
        last = environment.end_iteration - environment.begin_iteration
        # Scoring costs half of what a round does: after the first ones, not each is looked at.
        looked_at = step <= EACH_WATCHED or step % WATCHED_EVERY == 0 or step == last
        if self._watch is None or not looked_at:
            return
        added = environment.model.predict(
            self._watch.vectors,
            start_iteration=self._shown,
            num_iteration=step - self._shown,
            raw_score=True,
            # Else LightGBM predicts, and from then on trains too, on all cores.
            num_threads=self._threads,
        )
        self._scores = added if self._scores is None else self._scores + added
        self._shown = step
        if self._watch.seen(step, _linked(self._scores, environment.params["objective"])):
            raise lightgbm.callback.EarlyStopException(step - 1, [])


def _linked(raw: Scores, objective: str) -> Scores:
    return raw if objective == "regression" else np.asarray(1 / (1 + np.exp(-raw)))


def columns_of(schema: FeatureSchema, names: Sequence[str]) -> tuple[FeatureSchema, list[int]]:
    """The schema of some of the features, and their places in the vector."""
    places = [schema.names.index(name) for name in names]
    categorical = tuple(name for name in schema.categorical if name in names)
    definition = f"{schema.definition}\nonly {', '.join(names)}"
    return FeatureSchema(tuple(names), categorical, definition), places
