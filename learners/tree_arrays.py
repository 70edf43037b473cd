"""A model's trees as arrays: what they hold, what must be true of them, and the file they lie in.

The file says what the model's text says, and is read in a ninth of the time: who publishes a
release writes it once, who serves reads it at every swap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray

from learners.tensor_file import read_tensors, write_tensors
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION, Task

_FORMAT = "tidemill trees 1"
_TASKS = {task.kind: task for task in (BINARY, REGRESSION)}
# Of the arrays: type, and sides; a side with a name is as long as all others of that name.
_KINDS: dict[str, tuple[type[np.generic], tuple[str | int, ...]]] = {
    "split_features": (np.int32, ("nodes",)),
    "thresholds": (np.float64, ("nodes",)),
    "missing_right": (np.bool_, ("nodes",)),
    "first_word": (np.int32, ("nodes",)),
    "words": (np.int32, ("nodes",)),
    "children": (np.int32, ("nodes", 2)),
    "bits": (np.uint32, ("bits",)),
    "leaf_counts": (np.int32, ("trees",)),
    "leaf_values": (np.float64, ("leaves",)),
    "leaf_weights": (np.float64, ("leaves",)),
    "leaf_covers": (np.float64, ("leaves",)),
}


@dataclass(frozen=True, slots=True)
class TreeArrays:
    """All trees of a model as arrays over their nodes and leaves, in the model's order; read only.

    A child that is not negative is a node's number, else the bitwise complement of a leaf's. A
    categorical node goes left when the category's bit is set in its `words` 32-bit words of `bits`
    from `first_word` on; a numerical node has no words and goes left when the value is at most
    `thresholds`.
    """

    task: Task
    features: tuple[str, ...]
    split_features: NDArray[np.int32]  # (nodes,)
    thresholds: NDArray[np.float64]  # (nodes,)
    missing_right: NDArray[np.bool_]  # (nodes,) where NaN goes
    first_word: NDArray[np.int32]  # (nodes,)
    words: NDArray[np.int32]  # (nodes,)
    children: NDArray[np.int32]  # (nodes, 2) left, right
    bits: NDArray[np.uint32]
    leaf_counts: NDArray[np.int32]  # (trees,)
    leaf_values: NDArray[np.float64]  # (leaves,)
    # (leaves,) sum of p(1-p) of the training rows in the leaf; a regression's: their number
    leaf_weights: NDArray[np.float64]
    # (leaves,) number of the training rows in the leaf; its weight where the text has no counts
    leaf_covers: NDArray[np.float64]

    def __post_init__(self) -> None:
        # However they were read: one array type is one compiled kernel.
        for name in _KINDS:
            getattr(self, name).flags.writeable = False

    @property
    def roots(self) -> NDArray[np.int32]:
        """Where each tree begins, as a child would be told: int32 (trees,)."""
        nodes, leaves = starts(self.leaf_counts - 1), starts(self.leaf_counts)
        found: NDArray[np.int32] = np.where(self.leaf_counts > 1, nodes, ~leaves)
        return found


class _Description(msgspec.Struct, frozen=True):
    """What the words of the file say of the trees; `text` is the SHA-256 of the model's text."""

    kind: str
    features: tuple[str, ...]
    text: str


def starts(counts: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Where each of several things begins that lie one after the other: int32 (things,)."""
    ends = np.cumsum(counts, dtype=np.int64)
    return (ends - counts).astype(np.int32)


def write_arrays(arrays: TreeArrays, text_digest: str) -> bytes:
    """Trees as a file; equal trees give equal bytes. `text_digest` is their text's SHA-256."""
    said = _Description(arrays.task.kind, arrays.features, text_digest)
    words = {"format": _FORMAT, "trees": msgspec.json.encode(said).decode()}
    return write_tensors({name: getattr(arrays, name) for name in _KINDS}, words)


def read_arrays(data: bytes) -> tuple[TreeArrays, str]:
    """What `write_arrays` wrote, views of it, and the text's SHA-256. Raises ArtifactError."""
    found, words = read_tensors(data)
    if words.get("format") != _FORMAT:
        raise ArtifactError(
            f"tree arrays: found format {words.get('format')!r}; allowed: {_FORMAT!r}"
        )
    try:
        said = msgspec.json.decode(words.get("trees", ""), type=_Description)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"tree arrays: {error}") from error
    if said.kind not in _TASKS:
        raise ArtifactError(f"tree arrays: found {said.kind}; allowed: {', '.join(_TASKS)}")
    _check_shapes(found)
    arrays = TreeArrays(_TASKS[said.kind], said.features, **{name: found[name] for name in _KINDS})
    check_trees(arrays, "tree arrays")
    return arrays, said.text


def _check_shapes(found: dict[str, NDArray[Any]]) -> None:
    """Raises ArtifactError unless each array is there and as long as those it goes with."""
    sizes: dict[str | int, int] = {2: 2}
    for name, (kind, sides) in _KINDS.items():
        array = found.get(name)
        allowed = f"{kind.__name__} {tuple(sizes.get(side, side) for side in sides)}"
        if array is None:
            raise ArtifactError(f"tree arrays: {name}: found nothing; allowed: {allowed}")
        # A kernel is compiled for aligned arrays; `write_tensors` aligns them.
        fits = array.dtype == kind and array.ndim == len(sides) and array.flags.aligned
        if fits:
            for side, length in zip(sides, array.shape, strict=True):
                fits &= length == sizes.setdefault(side, length)
        if not fits:
            where = "" if array.flags.aligned else " at an odd place"
            raise ArtifactError(
                f"tree arrays: {name}: found {array.dtype} {array.shape}{where}; allowed: {allowed}"
            )


def check_trees(arrays: TreeArrays, where: str) -> None:
    """A kernel follows these numbers without looking: none may point outside or in a circle.

    Raises ArtifactError, which begins with `where` they come from and names a field of the text.
    """

    def need(good: object, message: str) -> None:
        if not good:
            raise ArtifactError(f"{where}: {message}")

    nodes, leaves = len(arrays.split_features), len(arrays.leaf_values)
    counts = arrays.leaf_counts
    need(arrays.features, "feature_names: found none; allowed: one or more")
    need(len(counts), "found no tree; allowed: one or more")
    need(counts.min() > 0, f"num_leaves: found {counts.min()}; allowed: from 1 on")
    need(
        (counts.sum(dtype=np.int64), nodes) == (leaves, leaves - len(counts)),
        f"num_leaves: found {counts.sum(dtype=np.int64)} of {len(counts)} trees; allowed: {leaves}",
    )
    fault = _first_fault(
        len(arrays.features), arrays.split_features, arrays.thresholds, arrays.first_word,
        arrays.words, arrays.children, len(arrays.bits), counts, arrays.leaf_values,
        arrays.leaf_weights, arrays.leaf_covers,
    )  # fmt: skip
    need(fault == _SOUND, _FAULTS[min(fault, _SOUND - 1)])


_FAULTS = (
    "split_feature: found a number without a feature",
    "left_child, right_child: found nodes that form no tree",
    "left_child, right_child: found a child before its parent",
    "threshold: found nan; allowed: a number",
    "cat_boundaries: found words without bits",
    "leaf_value: found a number that is not finite",
    "leaf_weight: found a number that is not finite",
    "leaf_count: found a number that is not finite",
)
_FEATURE, _FOREST, _ORDER, _THRESHOLD, _WORDS, _VALUE, _WEIGHT, _COVER, _SOUND = range(9)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _first_fault(  # noqa: PLR0913  a kernel takes arrays, not objects
    features: int,
    split_features: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    first_word: NDArray[np.int32],
    words: NDArray[np.int32],
    children: NDArray[np.int32],
    bits: int,
    leaf_counts: NDArray[np.int32],
    leaf_values: NDArray[np.float64],
    leaf_weights: NDArray[np.float64],
    leaf_covers: NDArray[np.float64],
) -> int:
    """Which of the faults above there is, the first of them; the counts must fit the sizes."""
    nodes, leaves = len(split_features), len(leaf_values)
    fault = _SOUND
    # In a forest every node but the roots, and every leaf but lone ones, is the child of exactly
    # one node; and there are as many of them as there are children and roots.
    reached = np.zeros(nodes + leaves, np.bool_)  # the leaves from the end on, as ~leaf counts
    node = leaf = 0
    for count in leaf_counts:
        reached[node if count > 1 else ~leaf] = True
        node += count - 1
        leaf += count
    for node in range(nodes):
        if split_features[node] < 0 or split_features[node] >= features:
            fault = min(fault, _FEATURE)
        for side in range(2):
            child = children[node, side]
            if child < -leaves or child >= nodes:
                fault = min(fault, _FOREST)
                continue
            reached[child] = True
            if 0 <= child <= node:
                fault = min(fault, _ORDER)
        if np.isnan(thresholds[node]):
            fault = min(fault, _THRESHOLD)
        first, length = np.int64(first_word[node]), np.int64(words[node])
        if first < 0 or length < 0 or first + length > bits:
            fault = min(fault, _WORDS)
    if not reached.all():
        fault = min(fault, _FOREST)
    for leaf in range(leaves):
        if not np.isfinite(leaf_values[leaf]):
            fault = min(fault, _VALUE)
        if not np.isfinite(leaf_weights[leaf]):
            fault = min(fault, _WEIGHT)
        if not np.isfinite(leaf_covers[leaf]):
            fault = min(fault, _COVER)
    return fault
