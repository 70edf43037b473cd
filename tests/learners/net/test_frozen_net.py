"""Frozen nets: bytes that are read back, or refused with what was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_net import trained
from numpy.typing import NDArray
from releases import synthetic

from learners.net.frozen_net import FrozenNet, net_bytes
from learners.tensor_file import read_tensors, write_tensors
from tidemill.errors import ArtifactError


def changed(name: str, array: NDArray[Any]) -> bytes:
    """A release with another array of that name."""
    arrays, words = read_tensors(net_bytes(trained().network))
    return write_tensors(arrays | {name: array}, words)


def test_reads_back_what_was_written() -> None:
    """Bytes, digest and predictions are the same after another round."""
    frozen, (vectors, _) = trained(), synthetic(200, seed=5)
    data = net_bytes(frozen.network)
    again = FrozenNet.parse(data)
    assert (data, frozen.digest) == (net_bytes(again.network), again.digest)
    np.testing.assert_array_equal(frozen.raw_many(vectors), again.raw_many(vectors))
    odds = np.exp(frozen.raw_many(vectors))
    np.testing.assert_allclose(frozen.predict_many(vectors), odds / (1 + odds), atol=1e-12)


def test_a_row_is_predicted_alike_alone_and_among_others() -> None:
    """To the last bit, for any number of rows in a call."""
    frozen, (vectors, _) = trained(), synthetic(2500, seed=5)
    together = frozen.raw_many(vectors)
    for rows in (1, 2, 3, 7, 64, 1024, 1025):
        np.testing.assert_array_equal(together[:rows], frozen.raw_many(vectors[:rows]))
    alone = [frozen.raw_many(vectors[row : row + 1])[0] for row in range(100)]
    np.testing.assert_array_equal(together[:100], alone)


def test_refuses_vectors_of_another_width() -> None:
    """The message says what was found and what is allowed."""
    with pytest.raises(ValueError, match=r"found shape \(2, 7\); allowed: \(rows, 8\)"):
        trained().raw_many(np.zeros((2, 7), np.float32))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("dense", np.zeros(3, np.float32)),
        ("dense", np.zeros(3, np.float64)),
        ("dense_sums", np.zeros(trained().network.shape.dense_length, np.float32)),
        ("moments", np.full((3, 7), np.nan)),
        ("keys", np.array([-2, 4, 4])),
        ("keys", np.zeros(len(trained().network.table) + 1, np.int64)),
        ("embeddings", np.zeros((2, 4), np.float32)),
    ],
)
def test_refuses_arrays_that_are_no_net(name: str, array: NDArray[Any]) -> None:
    """Another shape, sums of 0, what is not finite, an id twice: an ArtifactError."""
    with pytest.raises(ArtifactError, match="net "):
        FrozenNet.parse(changed(name, array))


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"format": "tidemill net 1"},
        {"format": "tidemill net 1", "net": "{}"},
        {"format": "tidemill net 1", "net": '{"kind":"guess"}'},
    ],
)
def test_refuses_words_that_describe_no_net(words: dict[str, str]) -> None:
    """A file of another program is an ArtifactError."""
    with pytest.raises(ArtifactError, match="net: "):
        FrozenNet.parse(write_tensors({}, words))
