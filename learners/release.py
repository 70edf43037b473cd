"""Loads a release from the registry as what learners start from, whichever trainer made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from learners.learner import Frozen
from learners.own_model import FrozenOwn
from learners.tree_arrays import read_arrays, write_arrays
from learners.trees import FrozenTrees
from tidemill.declaration import Project
from tidemill.errors import ArtifactError
from tidemill.registry import Manifest, Registry
from tidemill.schema import schema_of
from tidemill.topics import EXAMPLES

TREES_FILE = "model.txt"
LINEAR_FILE = "linear.msgpack"
NET_FILE = "net.safetensors"
ARRAYS_FILE = "trees.safetensors"
"""What `TREES_FILE` says, for those who load it again and again: see `learners.tree_arrays`."""
OWN_FILE = "own.model"
_SEQUENCE = "sequence:"  # in a manifest's offsets


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as bytes; `name` says which format they have."""

    name: str
    data: bytes

    def __len__(self) -> int:
        return len(self.data)


def load_release(
    registry: Registry, name: str, project: Project, rest: Callable[[], None] = lambda: None
) -> Frozen:
    """The release of this name; may block on the disk.

    `rest` is called after each of its steps, for a process that has others to serve meanwhile.
    Raises ArtifactError when it is missing, damaged or made for other features.
    """
    manifest, schema = registry.manifest(name), schema_of(project)
    if manifest.schema != schema.hash:
        raise ArtifactError(
            f"release {name}: schema: found {manifest.schema}; allowed: {schema.hash}"
        )
    rest()
    release = _read_release(registry, manifest, project, rest)
    rest()
    if release.features != schema.names:
        pairs = zip_longest(release.features, schema.names)
        found, allowed = next(pair for pair in pairs if pair[0] != pair[1])
        raise ArtifactError(f"release {name}: features: found {found}; allowed there: {allowed}")
    return release


def _read_release(
    registry: Registry, manifest: Manifest, project: Project, rest: Callable[[], None]
) -> Frozen:
    if ARRAYS_FILE not in manifest.files:
        model = read_model_file(registry, manifest)
        rest()
        return read_model(model, project)
    data = registry.read(manifest, ARRAYS_FILE)
    rest()
    arrays, text = read_arrays(data)
    rest()
    allowed = manifest.files.get(TREES_FILE)
    if text != allowed:
        raise ArtifactError(
            f"release {manifest.release}: {ARRAYS_FILE}: found trees of {text}; allowed: {allowed}"
        )
    return FrozenTrees(arrays, text)


def release_files(model: ModelFile) -> dict[str, bytes]:
    """The files of a release of this model. Raises ArtifactError for a text of no trees."""
    files = {model.name: model.data}
    if model.name == TREES_FILE:
        trees = FrozenTrees.parse(model.data)
        files[ARRAYS_FILE] = write_arrays(trees.arrays, trees.digest)
    return files


def trained_to(manifest: Manifest) -> tuple[int, dict[int, int]]:
    """Where the learner of a release goes on in the log of examples.

    The next offset, and the highest sequence of each partition of the join before it.
    """
    sequences = {
        int(name.removeprefix(_SEQUENCE)): reached
        for name, reached in manifest.offsets.items()
        if name.startswith(_SEQUENCE)
    }
    return manifest.offsets.get(f"{EXAMPLES}:0", 0), sequences


def read_model_file(registry: Registry, manifest: Manifest) -> ModelFile:
    """The bytes of a release's model, checked. Raises ArtifactError."""
    file = model_file_of(manifest)
    return ModelFile(file, registry.read(manifest, file))


def model_file_of(manifest: Manifest) -> str:
    """Which of a release's files is the model. Raises ArtifactError when none is."""
    file = next((file for file in _READERS if file in manifest.files), None)
    if file is None:
        found, allowed = ", ".join(manifest.files), ", ".join(_READERS)
        raise ArtifactError(
            f"release {manifest.release}: files: found {found}; allowed: one of {allowed}"
        )
    return file


def read_model(model: ModelFile, project: Project) -> Frozen:
    """What a model's bytes say. Raises ArtifactError for bytes of another format."""
    return _READERS[model.name](model.data, project)


def _trees(data: bytes, project: Project) -> Frozen:
    return FrozenTrees.parse(data)


def _linear(data: bytes, project: Project) -> Frozen:
    from learners.linear.frozen import FrozenLinear

    return FrozenLinear.parse(data)


def _net(data: bytes, project: Project) -> Frozen:
    from learners.net.frozen_net import FrozenNet

    return FrozenNet.parse(data)


def _own(data: bytes, project: Project) -> Frozen:
    return FrozenOwn.parse(data, project)


# A format's code is imported when one of its models is read: the api loads no more than it serves.
_READERS: Mapping[str, Callable[[bytes, Project], Frozen]] = {
    TREES_FILE: _trees,
    LINEAR_FILE: _linear,
    NET_FILE: _net,
    OWN_FILE: _own,
}
