"""Nets with weights of 8 bits: what they keep, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from case_net import SCHEMA, SETTINGS, trained
from numpy.typing import NDArray
from releases import synthetic

from learners.net.embedding_net import EmbeddingNet
from learners.net.frozen_net import FrozenNet, net_bytes
from learners.net.int8 import dequantized, quantized
from learners.tensor_file import read_tensors, write_tensors
from tidemill.errors import ArtifactError


def small() -> bytes:
    """A release of 8 bits."""
    return net_bytes(trained().network, int8=True)


def test_it_is_much_smaller_and_says_nearly_the_same() -> None:
    """A few hundredths of the log-odds at most."""
    vectors, _ = synthetic(500, seed=5)
    whole, rounded = trained(), FrozenNet.parse(small())
    assert 2 * len(small()) < len(net_bytes(whole.network))
    off = np.abs(whole.raw_many(vectors) - rounded.raw_many(vectors))
    assert 0 < off.max() < 0.1
    assert whole.network.shape == rounded.network.shape


def test_equal_nets_give_equal_bytes_and_rounding_is_done_once() -> None:
    """A rounded net written again is the same."""
    assert small() == small()
    assert small() == net_bytes(FrozenNet.parse(small()).network, int8=True)


def test_codes_have_a_scale_for_each_part() -> None:
    """A part's largest weight is exact, any other half a step off at most; zeros stay zeros."""
    weights = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    weights[:, 2] = 0
    for axis in (0, 1):
        codes, scales = quantized(weights, axis)
        assert (np.int8, weights.shape[axis]) == (codes.dtype, len(scales))
        off = np.abs(dequantized(codes, scales, axis) - weights)
        assert (off <= np.expand_dims(scales, 1 - axis) * 0.5001).all()
    assert not quantized(weights, 1)[0][:, 2].any()


def test_the_optimizers_sums_are_about_those_of_the_net() -> None:
    """A layer's by rows and columns: their sums are exact; an embedding's within a tenth."""
    whole, rounded = trained().network, FrozenNet.parse(small()).network
    for (sums, biases), (coarse, same) in zip(
        whole.shape.layers(whole.sums), rounded.shape.layers(rounded.sums), strict=True
    ):
        for axis in (0, 1):
            np.testing.assert_allclose(coarse.sum(axis=axis), sums.sum(axis=axis), rtol=1e-4)
        np.testing.assert_array_equal(biases, same)
    keys = whole.table.all_rows().keys
    order = np.argsort(keys[keys >= 0]) + whole.table.columns
    width = whole.table.width
    expected = np.exp(np.log(whole.table.all_rows().values[order, width:]).mean(axis=1))
    found = rounded.table.all_rows().values[whole.table.columns :, width]
    np.testing.assert_allclose(found, expected, rtol=0.1)


def test_a_learner_starts_as_the_rounded_release() -> None:
    """It takes the weights over, and learns on."""
    frozen, (vectors, labels) = FrozenNet.parse(small()), synthetic(320, seed=6)
    learner = EmbeddingNet.warm_start(frozen, SETTINGS, SCHEMA)
    np.testing.assert_array_equal(frozen.raw_many(vectors), learner.network.raw_many(vectors)[:, 0])
    learner.learn_many(vectors, labels)
    again = EmbeddingNet.restore(frozen, SETTINGS, SCHEMA, learner.snapshot())
    np.testing.assert_array_equal(learner.predict_many(vectors), again.predict_many(vectors))


def test_a_learner_takes_over_a_net_with_fewer_units() -> None:
    """Settings of wider layers start from a pruned net's weights, not beside it."""
    frozen = trained()
    wider = replace(SETTINGS, hidden=tuple(units + 3 for units in SETTINGS.hidden))
    learner = EmbeddingNet.warm_start(frozen, wider, SCHEMA)
    assert frozen.network.shape == learner.network.shape
    np.testing.assert_array_equal(frozen.network.dense, learner.network.dense)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("codes", np.zeros(3, np.int8)),
        ("codes", np.zeros(3, np.float32)),
        ("scales", np.full(1, np.nan, np.float32)),
        ("ids", np.zeros(2, np.uint32)),
        ("id_counts", np.array([-1])),
        ("moments", np.zeros((3, 1), np.float32)),
        ("embeddings", np.zeros((1, 1), np.int8)),
        ("row_sums", np.zeros(1, np.float32)),
    ],
)
def test_damaged_bytes_are_refused(name: str, array: NDArray[Any]) -> None:
    """With the name of what is wrong."""
    arrays, words = read_tensors(small())
    with pytest.raises(ArtifactError, match=f"net {name}"):
        FrozenNet.parse(write_tensors(arrays | {name: array}, words))


def test_numbers_out_of_range_are_refused() -> None:
    """An infinite scale and sums of 0 give no net."""
    arrays, words = read_tensors(small())
    for name, value in (("scales", np.inf), ("row_sums", 0)):
        bad = arrays | {name: np.full_like(arrays[name], value)}
        with pytest.raises(ArtifactError, match="found numbers out of range"):
            FrozenNet.parse(write_tensors(bad, words))
