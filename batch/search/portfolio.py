"""Settings known to be good, tried first where no earlier study tells what is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# LightGBM: few leaves and a strong penalty did best on forward folds of the flights' first four
# months, and on the clicks (bench/tune.py); then its own defaults; then two of the portfolio that
# AutoGluon's zero-shot presets begin with (r131 and `GBMLarge` of TabRepo: Salinas and Erickson,
# AutoML 2024), without their rates, which are settled at the end; last what was best in copies on
# the flights, where it shows a tree a fifth of everything. Linear: penalties that many categories
# take. Net: the defaults, and a wider one without a second layer.
PORTFOLIO: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "lightgbm": (
        {"leaves": 31, "min_rows_per_leaf": 100, "feature_share": 0.6, "row_share": 1.0,
         "l2": 10.0, "bins": 63},
        {"leaves": 7, "min_rows_per_leaf": 50, "feature_share": 0.6, "row_share": 1.0,
         "l2": 10.0, "bins": 63},
        {"leaves": 15, "min_rows_per_leaf": 50, "feature_share": 0.6, "row_share": 1.0,
         "l2": 10.0, "bins": 63},
        {"leaves": 31, "min_rows_per_leaf": 20, "feature_share": 1.0, "row_share": 1.0,
         "l2": 0.1, "bins": 255},
        {"leaves": 53, "min_rows_per_leaf": 14, "feature_share": 0.7, "row_share": 1.0,
         "l2": 1.0, "bins": 255},
        {"leaves": 128, "min_rows_per_leaf": 10, "feature_share": 0.9, "row_share": 1.0,
         "l2": 10.0, "bins": 255},
        {"leaves": 63, "min_rows_per_leaf": 10, "feature_share": 0.25, "row_share": 0.75,
         "l2": 1.0, "bins": 63},
    ),
    "linear": ({"ridge": 10.0}, {"ridge": 100.0}),
    "net": (
        {"hidden": (32, 16), "embedding": 8, "learning_rate": 0.05, "batch_rows": 256,
         "admit_after": 2},
        {"hidden": (64,), "embedding": 8, "learning_rate": 0.02, "batch_rows": 256,
         "admit_after": 5},
    ),
}  # fmt: skip
SOURCE = "portfolio"
