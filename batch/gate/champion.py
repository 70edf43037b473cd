"""The release that is being served: which rows it can be judged on, and what it said of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.scoring import predict_all
from learners.release import ModelFile, read_model, read_model_file
from tidemill.declaration import Project
from tidemill.errors import ArtifactError
from tidemill.registry import Registry


@dataclass(frozen=True, slots=True)
class Champion:
    """The release being served: its name, its model, and until when (ms) it was trained."""

    release: str
    model: ModelFile
    trained_to_ms: int

    @classmethod
    def read(cls, registry: Registry, release: str) -> Champion:
        """The release of this name. Raises ArtifactError for a damaged one, with the ways out."""
        try:
            manifest = registry.manifest(release)
            return cls(release, read_model_file(registry, manifest), manifest.trained_to_ms)
        except ArtifactError as error:
            raise ArtifactError(
                f"{error}. It is the champion, which nothing can be compared with like this: bring "
                "its files back, let another answer (`tidemill models rollback`, or `promote`), or "
                f"remove {registry.folder / release}: then nothing is compared"
            ) from error

    def comparable(self, rows: Dataset) -> NDArray[np.bool_]:
        """Which rows it was not trained on, or answered before anybody knew the label."""
        return answered(rows) | (rows.label_times >= self.trained_to_ms)

    def scores(self, project: Project, rows: Dataset) -> NDArray[np.float64]:
        """What it really answered; for rows that nobody answered, what its frozen model says."""
        known = answered(rows)
        scores = rows.scores.copy()
        if not known.all():
            frozen = read_model(self.model, project)
            scores[~known] = predict_all(frozen, rows.vectors[~known])
        return scores


def answered(rows: Dataset) -> NDArray[np.bool_]:
    """Which rows were scored live."""
    return rows.live & np.isfinite(rows.scores)
