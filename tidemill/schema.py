"""The schema of a feature vector: names, order and dtype, with a hash that every vector carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tidemill.declaration import Project


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """Describes the float32 row a model sees."""

    names: tuple[str, ...]
    categorical: tuple[str, ...]
    definition: str

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with any change of names, order or definition."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:12]


def schema_of(project: Project) -> FeatureSchema:
    """The schema a project's features declare; it depends on their declaration alone."""
    definition = "float32\n" + "\n".join(repr(feature) for feature in project.features)
    return FeatureSchema(tuple(project.feature_names), tuple(project.categorical_names), definition)
