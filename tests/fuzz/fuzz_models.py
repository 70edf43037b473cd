"""A release's model text: read behind a signature only, and yet it must not crash a reader."""

import numpy as np
from fuzzed_model import FEATURES, MODEL_TEXT

from learners.lightgbm_text import parse_model
from tidemill.errors import ArtifactError

ALLOWED = (ArtifactError,)


def seeds() -> list[bytes]:
    """Two trees, with a numerical and a categorical split."""
    return [MODEL_TEXT]


def one(data: bytes) -> None:
    """What a kernel follows without looking points nowhere else."""
    arrays = parse_model(data)
    nodes, leaves = len(arrays.split_features), len(arrays.leaf_values)
    assert (arrays.children >= -leaves).all() and (arrays.children < nodes).all()
    assert (arrays.first_word + arrays.words <= len(arrays.bits)).all()
    assert np.isfinite(arrays.leaf_values).all() or len(arrays.features) > FEATURES
