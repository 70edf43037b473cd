"""The file of a release's trees says what their text says, and points nowhere outside."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pytest
from releases import regression_release, release

from learners.lightgbm_text import parse_model
from learners.tensor_file import read_tensors, write_tensors
from learners.tree_arrays import TreeArrays, read_arrays, write_arrays
from tidemill.errors import ArtifactError

TEXT_DIGEST = "ab" * 32
NAMES = [field.name for field in dataclasses.fields(TreeArrays)][2:]


def arrays() -> TreeArrays:
    """Trees with numerical and categorical nodes, and one that never split."""
    return parse_model(release(rounds=5, leaves=7).text)


@pytest.mark.parametrize("made", [release, regression_release], ids=["binary", "regression"])
def test_reads_back_what_the_text_says(made) -> None:
    """Every array, its type (one type, one compiled kernel) and what is said of the model."""
    of_text = parse_model(made().text)
    data = write_arrays(of_text, TEXT_DIGEST)
    found, digest = read_arrays(data)
    assert (of_text.task, of_text.features, TEXT_DIGEST) == (found.task, found.features, digest)
    for name in [*NAMES, "roots"]:
        expected, array = getattr(of_text, name), getattr(found, name)
        np.testing.assert_array_equal(expected, array, err_msg=name)
        assert numba.typeof(expected) == numba.typeof(array), name
    assert data == write_arrays(found, digest)


def test_trees_without_nodes_are_read_back() -> None:
    """A model of lone leaves has no node, and no set of categories."""
    made = parse_model(release(rounds=5, min_data_in_leaf=100_000).text)
    found, _ = read_arrays(write_arrays(made, TEXT_DIGEST))
    assert (0, 0) == (len(found.split_features), len(found.bits))
    assert made.roots.tolist() == found.roots.tolist()


def test_every_shortened_file_is_refused() -> None:
    """A file cut anywhere is an ArtifactError."""
    data = write_arrays(arrays(), TEXT_DIGEST)
    for end in range(0, len(data), 7):
        with pytest.raises(ArtifactError):
            read_arrays(data[:end])


def _put(place: int, value: float):
    """A change of one number."""

    def changed(array: np.ndarray) -> np.ndarray:
        copy = array.copy()
        copy.ravel()[place] = value
        return copy

    return changed


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("leaf_counts", _put(0, 0), "num_leaves: found 0; allowed: from 1 on"),
        ("leaf_counts", _put(0, 2**31 - 1), r"num_leaves: found \d+ of 5 trees; allowed: 35"),
        ("leaf_counts", lambda a: a[:0], "found no tree; allowed: one or more"),
        ("leaf_counts", lambda a: a.astype(np.int64), r"leaf_counts: found int64 \(5,\); allowed"),
        ("split_features", _put(0, -1), "split_feature: found a number without a feature"),
        ("split_features", _put(0, 8), "split_feature: found a number without a feature"),
        ("split_features", lambda a: a[1:], r"thresholds: found float64 \(30,\); allowed: .*29"),
        ("thresholds", _put(3, np.nan), "threshold: found nan; allowed: a number"),
        ("children", _put(0, 30), "left_child, right_child: found nodes that form no tree"),
        ("children", _put(0, -36), "left_child, right_child: found nodes that form no tree"),
        ("children", _put(0, 0), "left_child, right_child: found nodes that form no tree"),
        ("children", lambda a: a.ravel(), r"children: found int32 \(60,\); allowed: .*\(30, 2\)"),
        ("first_word", _put(0, -1), "cat_boundaries: found words without bits"),
        ("words", _put(0, -1), "cat_boundaries: found words without bits"),
        ("words", _put(0, 2**31 - 1), "cat_boundaries: found words without bits"),
        ("leaf_values", _put(0, np.inf), "leaf_value: found a number that is not finite"),
        ("leaf_weights", _put(0, np.nan), "leaf_weight: found a number that is not finite"),
        ("leaf_covers", _put(0, np.nan), "leaf_count: found a number that is not finite"),
        ("leaf_values", lambda a: a[1:], r"leaf_weights: found float64 \(35,\); allowed: .*34"),
    ],
)
def test_a_damaged_array_is_named(name: str, change, message: str) -> None:
    """An ArtifactError says which array or field, what it has, and what it may have."""
    found, words = read_tensors(write_arrays(arrays(), TEXT_DIGEST))
    found[name] = change(found[name])
    with pytest.raises(ArtifactError, match=f"tree arrays: {message}"):
        read_arrays(write_tensors(found, words))


def test_a_child_before_its_parent_is_refused() -> None:
    """Nodes in a circle, each reached once: a walk through them would never end."""
    found, words = read_tensors(write_arrays(arrays(), TEXT_DIGEST))
    children = found["children"].copy()
    flat = children.ravel()
    first, second = np.flatnonzero(flat > 0)[:2]
    flat[first], flat[second] = flat[second], flat[first]
    node = int(np.flatnonzero((children >= 0).any(axis=1))[-1])
    side = int(np.flatnonzero(children[node] >= 0)[0])
    holder = np.argwhere(children == node)[0]
    children[holder[0], holder[1]], children[node, side] = children[node, side], node
    found["children"] = children
    with pytest.raises(ArtifactError, match="found a child before its parent"):
        read_arrays(write_tensors(found, words))


@pytest.mark.parametrize("name", ["children", "bits", "missing_right"])
def test_a_missing_array_is_named(name: str) -> None:
    """An array that is not there is an ArtifactError."""
    found, words = read_tensors(write_arrays(arrays(), TEXT_DIGEST))
    del found[name]
    with pytest.raises(ArtifactError, match=f"tree arrays: {name}: found nothing; allowed: "):
        read_arrays(write_tensors(found, words))


def test_arrays_at_odd_places_are_refused() -> None:
    """A kernel for aligned arrays would read past them: the file must have them aligned."""
    data = write_arrays(arrays(), TEXT_DIGEST)
    length = int.from_bytes(data[:8], "little")
    odd = (length + 1).to_bytes(8, "little") + data[8 : 8 + length] + b" " + data[8 + length :]
    with pytest.raises(ArtifactError, match="found .* at an odd place; allowed: "):
        read_arrays(odd)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"format": "tidemill trees 2"}, "found format 'tidemill trees 2'; allowed: 'tidemill"),
        ({"trees": "[]"}, "tree arrays: Expected"),
        ({"trees": '{"kind":"multiclass","features":["a"],"text":""}'}, "found multiclass; all"),
        ({"trees": '{"kind":"binary","features":["a"],"text":""}'}, "split_feature: found"),
        ({"trees": '{"kind":"binary","features":[],"text":""}'}, "feature_names: found none"),
    ],
)
def test_what_is_said_of_the_trees_is_checked(words: dict[str, str], message: str) -> None:
    """Another format, another task, or too few features."""
    found, said = read_tensors(write_arrays(arrays(), TEXT_DIGEST))
    with pytest.raises(ArtifactError, match=message):
        read_arrays(write_tensors(found, said | words))
