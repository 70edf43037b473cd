"""What separates two releases is named; what is equal is not."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from published import release

from batch.publish.differences import differences, importance
from learners.release import TREES_FILE
from tidemill.errors import ArtifactError
from tidemill.registry import Registry


def trees(rounds: int, features: tuple[str, ...] = ("amount", "hour")) -> lightgbm.Booster:
    """A model of rows whose label follows the first feature."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, len(features)))
    labels = rows[:, 0] + 0.3 * rows[:, 1] + 0.1 * rng.normal(size=400) > 0
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 5}
    data = lightgbm.Dataset(rows, labels, feature_name=list(features))
    return lightgbm.train(settings, data, rounds)


def test_importance_is_lightgbms(registry: Registry) -> None:
    """The share of gain read from the text is the one the booster gives."""
    booster = trees(20)
    gains = booster.feature_importance("gain")
    expected = dict(zip(booster.feature_name(), (gains / gains.sum()).tolist(), strict=True))
    assert expected == pytest.approx(importance(booster.model_to_string().encode()), rel=1e-4)


def test_a_model_of_another_format_is_refused() -> None:
    """A text that is cut off in a tree is named."""
    text = trees(2).model_to_string()
    with pytest.raises(ArtifactError, match="model text"):
        importance(text[: text.rindex("split_gain")].encode())


def test_equal_releases_do_not_differ(registry: Registry) -> None:
    """Only their names do."""
    for name in ("r0001", "r0002"):
        release(registry, name)
    found = differences(registry, "r0001", "r0001")
    assert ({}, {}, {}, {}, [], []) == (
        found.provenance, found.parameters, found.metrics, found.offsets, found.features_added,
        found.importance,
    )  # fmt: skip


def test_everything_that_differs_is_named(registry: Registry) -> None:
    """Parameters, metrics, features and where each comes from, as pairs."""
    release(registry, "r0001", dataset="d0123456789ab")
    release(
        registry, "r0002", dataset="dfedcba987654", rows=200, offsets={"examples:0": 90},
        metrics={"gate_candidate_auc": 0.8}, parameters={"trainer": "LightGBM", "leaves": 31},
        features=["day", "hour"], parent="r0001",
    )  # fmt: skip
    found = differences(registry, "r0001", "r0002")
    assert {"leaves": (63, 31)} == found.parameters
    assert {"gate_candidate_auc": (0.75, 0.8)} == found.metrics
    assert {"examples:0": (70, 90), "sequence:0": (70, None)} == found.offsets
    assert (["day"], ["amount"], False) == (
        found.features_added, found.features_removed, found.reordered,
    )  # fmt: skip
    assert {
        "dataset": ("d0123456789ab", "dfedcba987654"), "parent": ("", "r0001"), "rows": (100, 200),
    } == found.provenance  # fmt: skip


def test_features_in_another_order_are_said_to_be(registry: Registry) -> None:
    """The same names make other vectors."""
    release(registry, "r0001")
    release(registry, "r0002", features=["hour", "amount"])
    found = differences(registry, "r0001", "r0002")
    assert ([], [], True) == (found.features_added, found.features_removed, found.reordered)


def test_the_use_of_features_is_compared(registry: Registry) -> None:
    """What changed most comes first; a feature that one has not is None there."""
    for name, features in (("r0001", ("amount", "hour")), ("r0002", ("amount", "day"))):
        made = release(registry, name)
        path = registry.folder / name
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        registry.publish(made, {TREES_FILE: trees(5, features).model_to_string().encode()})
    found = differences(registry, "r0001", "r0002").importance
    assert [("day", None), ("hour", "a")] == [
        (each.feature, "a" if each.before is not None else None) for each in found
    ]
