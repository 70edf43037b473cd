"""A release's trees as arrays: read behind a signature only, and yet it must not crash a reader."""

import numpy as np
from fuzzed_model import MODEL_TEXT

from learners.lightgbm_text import parse_model
from learners.tree_arrays import read_arrays, write_arrays
from learners.tree_walk import TreeWalk
from tidemill.errors import ArtifactError

ALLOWED = (ArtifactError,)


def seeds() -> list[bytes]:
    """Two trees, with a numerical and a categorical split."""
    return [write_arrays(parse_model(MODEL_TEXT), "ab" * 32)]


def one(data: bytes) -> None:
    """A walk through what was read ends, at a leaf of its tree."""
    arrays, _ = read_arrays(data)
    vectors = np.full((2, len(arrays.features)), np.nan, np.float32)
    vectors[0] = 6
    leaves = TreeWalk.of(arrays).leaves(vectors)
    assert ((leaves >= 0) & (leaves < len(arrays.leaf_values))).all()
