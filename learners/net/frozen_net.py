"""A net as batch trained it, read only, with its optimizer's state."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores, Vectors
from learners.net.int8 import FORMAT_INT8, compacted, expanded
from learners.net.loss import predictions_of
from learners.net.network import Network
from learners.net.shape import NetShape
from learners.net.table import RARE, Candidates, EmbeddingTable, Rows, Turnover
from learners.tensor_file import read_tensors, write_tensors
from tidemill.errors import ArtifactError
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

FORMAT = "tidemill net 1"
_MOST_UNITS = 4096
_NO_TURNOVER = Turnover(admit_after=1, expires_after=None, max_rows=0, seed=0)


class _Description(msgspec.Struct, frozen=True):
    """What the words of the file say of the net."""

    kind: str
    classes: int
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    embedding: int
    hidden: tuple[int, ...]
    center: float
    scale: float


class FrozenNet:
    """A trained net: safetensors bytes; safe to use from several threads."""

    def __init__(self, network: Network, digest: str) -> None:
        self.network, self.digest = network, digest
        self.task, self.features = network.shape.task, network.shape.features

    @classmethod
    def parse(cls, data: bytes) -> FrozenNet:
        """Read what `net_bytes` wrote. Raises ArtifactError for anything else."""
        arrays, words = read_tensors(data)
        if words.get("format") not in (FORMAT, FORMAT_INT8):
            allowed = f"{FORMAT!r}, {FORMAT_INT8!r}"
            raise ArtifactError(f"net: found format {words.get('format')!r}; allowed: {allowed}")
        try:
            said = msgspec.json.decode(words.get("net", ""), type=_Description)
            task = Task(said.kind, said.classes)  # type: ignore[arg-type]
        except Exception as error:
            raise ArtifactError(f"net: {error}") from error
        shape = NetShape(task, said.features, said.categorical, said.embedding, said.hidden)
        _check_shape(shape)
        if words["format"] == FORMAT_INT8:
            arrays = expanded(shape, arrays)
        _check(shape, arrays)
        table = EmbeddingTable(len(shape.categorical), shape.embedding, _NO_TURNOVER)
        keys = arrays["keys"]
        values = np.concatenate([arrays["embeddings"], arrays["embedding_sums"]], axis=1)
        numbers = np.arange(len(keys), dtype=np.int64)
        empty = np.empty(0, np.int64)
        table.put(Rows(numbers, keys, np.zeros_like(keys), values), Candidates(empty, empty, True))
        dense, sums = arrays["dense"].copy(), arrays["dense_sums"].copy()
        moments = arrays["moments"].copy()
        network = Network(shape, dense, sums, table, moments, said.center, said.scale)
        return cls(network, hashlib.sha256(data).hexdigest())

    def raw_many(self, vectors: Vectors) -> Scores:
        """Log-odds, values, or what softmax makes probabilities of."""
        network = self.network
        return network.scores(network.raw_many(network.checked(vectors)))

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities or values."""
        return predictions_of(self.task, self.raw_many(vectors))


def net_bytes(network: Network, int8: bool = False) -> bytes:
    """A network as a release's bytes, with `int8` rounded; equal networks give equal bytes."""
    shape, rows = network.shape, network.table.all_rows()
    said = _Description(
        shape.task.kind, shape.task.classes, shape.features, shape.categorical, shape.embedding,
        shape.hidden, network.center, network.scale,
    )  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {
        "dense": network.dense,
        "dense_sums": network.sums,
        "moments": network.moments,
        "keys": rows.keys,
        "embeddings": rows.values[:, : shape.embedding],
        "embedding_sums": rows.values[:, shape.embedding :],
    }
    words = {"format": FORMAT, "net": msgspec.json.encode(said).decode()}
    if int8:
        arrays, words["format"] = compacted(shape, arrays), FORMAT_INT8
    return write_tensors(arrays, words)


def shape_of(
    task: Task, schema: FeatureSchema, embedding: int, hidden: tuple[int, ...]
) -> NetShape:
    """The net that settings describe over a schema's features."""
    return NetShape(task, schema.names, schema.categorical, embedding, hidden)


def _check_shape(shape: NetShape) -> None:
    """Raises ArtifactError for a shape that no net has."""
    if not set(shape.categorical) <= set(shape.features) or not shape.hidden:
        raise ArtifactError(f"net: found ids {shape.categorical}; allowed: some of its features")
    if not all(0 < size <= _MOST_UNITS for size in (shape.embedding, *shape.hidden)):
        raise ArtifactError(f"net: found {shape}; allowed: layers of 1 to {_MOST_UNITS}")


def _check(shape: NetShape, arrays: dict[str, NDArray[Any]]) -> None:
    """Raises ArtifactError unless the arrays are those of the shape."""
    columns, rows = len(shape.categorical), len(arrays.get("keys", ()))
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "dense": (np.float32, (shape.dense_length,)),
        "dense_sums": (np.float32, (shape.dense_length,)),
        "moments": (np.float64, (3, len(shape.numeric_places))),
        "keys": (np.int64, (rows,)),
        "embeddings": (np.float32, (rows, shape.embedding)),
        "embedding_sums": (np.float32, (rows, shape.embedding)),
    }
    for name, (dtype, sides) in expected.items():
        found = arrays.get(name)
        if found is None or found.dtype != dtype or found.shape != sides:
            described = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise ArtifactError(f"net {name}: found {described}; allowed: {dtype.__name__} {sides}")
        if not np.isfinite(found).all() or ("sums" in name and not (found > 0).all()):
            raise ArtifactError(f"net {name}: found numbers out of range; allowed: finite ones")
    keys = arrays["keys"]
    ids = keys[columns:]
    if (keys[:columns] != RARE).any() or (ids < 0).any() or len(np.unique(ids)) < len(ids):
        raise ArtifactError("net keys: found one twice or out of place; allowed: each id once")
