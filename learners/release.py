"""Loads a release from the registry as what learners start from, whichever trainer made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest

from learners.learner import Frozen
from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError
from tidemill.registry import Registry
from tidemill.schema import FeatureSchema

TREES_FILE = "model.txt"
_READERS: Mapping[str, Callable[[bytes], Frozen]] = {TREES_FILE: FrozenTrees.parse}


def load_release(registry: Registry, name: str, schema: FeatureSchema) -> Frozen:
    """The release of this name; may block on the disk.

    Raises ArtifactError when it is missing, damaged or made for other features.
    """
    manifest = registry.manifest(name)
    if manifest.schema != schema.hash:
        raise ArtifactError(
            f"release {name}: schema: found {manifest.schema}; allowed: {schema.hash}"
        )
    file = next((file for file in _READERS if file in manifest.files), None)
    if file is None:
        found, allowed = ", ".join(manifest.files), ", ".join(_READERS)
        raise ArtifactError(f"release {name}: files: found {found}; allowed: one of {allowed}")
    release = _READERS[file](registry.read(name, file))
    if release.features != schema.names:
        pairs = zip_longest(release.features, schema.names)
        found, allowed = next(pair for pair in pairs if pair[0] != pair[1])
        raise ArtifactError(f"release {name}: features: found {found}; allowed there: {allowed}")
    return release
