"""A model's text becomes arrays of exactly its numbers, or the field that is wrong is named."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from releases import regression_release, release, synthetic

from learners.lightgbm_text import parse_model
from learners.tree_arrays import TreeArrays
from tidemill.errors import ArtifactError

HEAD = """\
tree
version=v4
num_class=1
num_tree_per_iteration=1
objective=binary sigmoid:1
feature_names=amount shop

"""
FIRST = """\
Tree=0
num_leaves=3
num_cat=0
split_feature=0 0
threshold=0.5 0.25
decision_type=10 2
left_child=1 -1
right_child=-3 -2
leaf_value=-0.1 0.2 0.3
leaf_weight=1.5 2 3
leaf_count=4 5 6
is_linear=0


"""
STUMP = """\
Tree=1
num_leaves=1
num_cat=0
split_feature=
threshold=
leaf_value=0.75
leaf_weight=9
leaf_count=9


"""
SETS = """\
Tree=2
num_leaves=3
num_cat=2
split_feature=1 1
threshold=1 0
decision_type=1 1
left_child=1 -1
right_child=-3 -2
leaf_value=-0.25 0.5 1
leaf_weight=2 3 4
cat_boundaries=0 1 3
cat_threshold=6 7 8


end of trees

feature_importances:
amount=2
"""
TEXT = HEAD + FIRST + STUMP + SETS


def of(text: str) -> TreeArrays:
    """The arrays of a text."""
    return parse_model(text.encode())


def test_trees_lie_one_after_the_other() -> None:
    """Children, words and bits count through all trees; a stump is a leaf and no node."""
    arrays = of(TEXT)
    assert ("amount", "shop") == arrays.features
    assert [0, -4, 2] == arrays.roots.tolist()
    assert [[1, -3], [-1, -2], [3, -7], [-5, -6]] == arrays.children.tolist()
    assert [0.5, 0.25, 0.0, 0.0] == arrays.thresholds.tolist()
    assert [False, False, True, True] == arrays.missing_right.tolist()
    assert ([0, 0, 1, 0], [0, 0, 2, 1]) == (arrays.first_word.tolist(), arrays.words.tolist())
    assert ([6, 7, 8], [3, 1, 3]) == (arrays.bits.tolist(), arrays.leaf_counts.tolist())
    assert [1.5, 2, 3, 0, 2, 3, 4] == arrays.leaf_weights.tolist()
    assert [4, 5, 6, 0, 2, 3, 4] == arrays.leaf_covers.tolist()


@pytest.mark.parametrize("made", [release, regression_release], ids=["binary", "regression"])
def test_every_number_is_the_texts_own(made) -> None:
    """Each field of LightGBM's text, read by Python tree after tree, is what the arrays have."""
    text = made().text
    arrays = parse_model(text)

    def numbers(field: str) -> list[float]:
        lines = text.decode().partition("\nend of trees")[0].splitlines()
        found = [line.split("=")[1].split() for line in lines if line.startswith(f"{field}=")]
        return [float(word) for words in found for word in words]

    numerical = arrays.words == 0
    assert numbers("leaf_value") == arrays.leaf_values.tolist()
    assert numbers("leaf_weight") == arrays.leaf_weights.tolist()
    assert numbers("leaf_count") == arrays.leaf_covers.tolist()
    assert numbers("split_feature") == arrays.split_features.tolist()
    assert numbers("cat_threshold") == arrays.bits.tolist()
    thresholds = np.array(numbers("threshold"))
    assert thresholds[numerical].tolist() == arrays.thresholds[numerical].tolist()
    kinds = [np.int32, np.int32, np.float64, np.int32, np.int32, np.uint32]
    found = (arrays.roots, arrays.children, arrays.thresholds, arrays.words, arrays.first_word,
             arrays.bits)  # fmt: skip
    assert kinds == [array.dtype for array in found]


def test_another_spelling_of_the_same_numbers_is_the_same_model() -> None:
    """What LightGBM would not write but every reader of numbers takes."""
    odd = TEXT.replace(
        "leaf_value=-0.1 0.2 0.3", "leaf_value=-1e-1  +0.20 0.3000000000000000000000"
    )
    assert of(TEXT).leaf_values.tolist() == of(odd).leaf_values.tolist()


def test_a_feature_may_have_any_name() -> None:
    """What follows the trees names features too, and is none."""
    vectors, labels = synthetic(500, seed=1)
    names = ["Tree", "leaf_value", *(f"x{place}" for place in range(vectors.shape[1] - 2))]
    data = lightgbm.Dataset(vectors, labels, feature_name=names)
    settings = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, data, 3)
    arrays = parse_model(booster.model_to_string().encode())
    assert (tuple(names), 3) == (arrays.features, len(arrays.roots))


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        ("num_leaves=3", "num_leaves=0", "num_leaves: found 0; allowed: from 1 on"),
        ("num_leaves=3", "num_leaves=3e9", "num_leaves: found 3000000000.0; allowed: whole"),
        ("num_leaves=3", "num_leaves=2000000000", "leaf_value: found 3 values; allowed: 20000"),
        ("num_leaves=3\n", "", "num_leaves: found 0 values; allowed: 1"),
        ("0.2 0.3", "x 0.3", "leaf_value: found b'x'; allowed: a number"),
        ("0.2 0.3", "0.2", "leaf_value: found 2 values; allowed: 3"),
        ("0.2 0.3", "nan 0.3", "leaf_value: found a number that is not finite"),
        ("leaf_weight=1.5 2", "leaf_weight=1.5", "leaf_weight: found 2 values; allowed: 3"),
        ("left_child=1 -1", "left_child=1 -1.5", "left_child: found -1.5; allowed: whole numbers"),
        ("left_child=1 -1", "left_child=1 -9", "left_child, right_child: found nodes that form no"),
        ("left_child=1 -1", "left_child=1 1e300", "left_child: found 1e[+]300; allowed: whole"),
        ("split_feature=0 0", "split_feature=0 2", "split_feature: found a number without"),
        ("threshold=0.5 0.25", "threshold=0.5 nan", "threshold: found nan; allowed: a number"),
        ("decision_type=10 2", "decision_type=4 2", "found zero_as_missing; allowed: NaN"),
        ("num_cat=2", "num_cat=-1", "num_cat: found -1; allowed: from 0 on"),
        ("num_cat=2\n", "", "num_cat: found 0 values; allowed: 1"),
        ("num_cat=2", "num_cat=0", "threshold: found 1.0; allowed: a set of categories"),
        ("num_cat=2", "num_cat=3", "cat_boundaries: found 3 values; allowed: 4"),
        ("threshold=1 0", "threshold=2 0", "threshold: found 2.0; allowed: a set of categories"),
        ("threshold=1 0", "threshold=0.5 0", "threshold: found 0.5; allowed: a set of categories"),
        ("threshold=1 0", "threshold=nan 0", "threshold: found nan; allowed: a set of categories"),
        ("cat_boundaries=0 1 3", "cat_boundaries=1 2 3", "cat_boundaries: found sets without"),
        ("cat_boundaries=0 1 3", "cat_boundaries=0 3 3", "cat_boundaries: found sets without"),
        ("cat_boundaries=0 1 3", "cat_boundaries=0 1 2000000000", "cat_threshold: found 3 values"),
        ("cat_threshold=6", "cat_threshold=-6", "cat_threshold: found -6.0; allowed: whole"),
        ("feature_names=amount shop\n", "", "feature_names: found None; allowed: one or more"),
    ],
)
def test_a_damaged_field_is_named(found: str, put: str, message: str) -> None:
    """An ArtifactError says which field, what it has, and what it may have."""
    assert found in TEXT
    with pytest.raises(ArtifactError, match=f"model text: .*{message}"):
        of(TEXT.replace(found, put, 1))


@pytest.mark.parametrize("length", range(0, len(TEXT), 37))
def test_a_truncated_text_is_refused_or_ends_with_a_tree(length: int) -> None:
    """No cut gives anything but whole trees."""
    try:
        arrays = of(TEXT[:length])
    except ArtifactError:
        return
    assert len(arrays.leaf_values) == arrays.leaf_counts.sum()
