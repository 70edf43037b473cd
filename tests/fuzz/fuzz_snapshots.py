"""Snapshots from the store: the seal, the record behind it, and a head's state in that."""

import hashlib

import msgspec
from fuzzed_model import FEATURES, MODEL_TEXT

from learners.snapshot import Newest, Snapshot
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import TreeHead as Settings

ALLOWED = (ArtifactError,)
MAGIC = b"TMSNAP2\n"
TREES = FrozenTrees.parse(MODEL_TEXT)
HEAD = TreeHead.warm_start(TREES, Settings())


def seeds() -> list[bytes]:
    """A whole one, a change, the record of which is the newest; sealed, and their bodies alone."""
    records = [
        Snapshot(
            "head", "r0001", 3, 3, "abc", 10, 20, {0: 5, 1: 7}, HEAD.snapshot(), 1_700_000_000_000
        ),
        Snapshot("head", "r0001", 4, 3, "abc", 11, 21, {}, b"change", 1, [(3, 5)], 9, b"guard"),
        Newest("r0001", 4, 3, "00" * 32),
    ]
    sealed = [record.encode() for record in records]
    return [*sealed, *(each[len(MAGIC) + 32 :] for each in sealed), HEAD.snapshot()]


def one(data: bytes) -> None:
    """As it is, as the body behind a good seal (which no mutation could make), and as a state."""
    passed = [_whole(data), _whole(MAGIC + hashlib.sha256(data).digest() + data), _state(data)]
    if not any(passed):
        raise ArtifactError("neither")


def _whole(data: bytes) -> bool:
    good = False
    for kind in (Snapshot, Newest):
        try:
            found = kind.decode(data)
        except ArtifactError:
            continue
        good = True
        assert kind.decode(found.encode()).encode() == found.encode()
        if isinstance(found, Newest):
            _missing(found)
        else:
            _state(found.state)
    return good


def _missing(newest: Newest) -> None:
    # What a reader would do; the numbers are the learner's own, so bounded here.
    if 0 <= newest.number - newest.base < 1_000:
        newest.missing("r0001", newest.number)


def _state(data: bytes) -> bool:
    try:
        head = TreeHead.restore(TREES, Settings(), data)
    except ArtifactError:
        return False
    assert head.weights.shape == TREES.leaf_values.shape and len(TREES.features) == FEATURES
    assert TreeHead.restore(TREES, Settings(), head.snapshot()).snapshot() == head.snapshot()
    msgspec.msgpack.decode(head.snapshot())
    return True
