"""Optuna's random sampler as a peer of `bench tune`: LightGBM's settings drawn, none cut short.

The space is about the one that ours searches. Every trial trains on the rows known before the
newest fifth and is scored on that; its rounds and its rate are drawn like the rest.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bench.peers.tuning import Incumbent, Rows, Scores, Stopwatch, Tuning, hand_back


def drawn(trial: Any) -> dict[str, Any]:
    """One point of the space, by LightGBM's names."""
    return {
        "num_leaves": trial.suggest_int("num_leaves", 7, 255, log=True),
        "n_estimators": trial.suggest_int("n_estimators", 50, 1_000, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 500, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.2, 1.0),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "reg_alpha": trial.suggest_float("reg_alpha", 1e-3, 100.0, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 100.0, log=True),
        "max_bin": trial.suggest_int("max_bin", 31, 511, log=True),
    }


def trained(rows: Rows, some: Any, settings: dict[str, Any], tuning: Tuning) -> Any:
    """A classifier of some of the rows."""
    import lightgbm

    model = lightgbm.LGBMClassifier(
        **settings, subsample_freq=1, random_state=tuning.seed, n_jobs=tuning.cores, verbose=-1
    )
    return model.fit(
        rows.vectors[some], rows.labels[some],
        categorical_feature=np.flatnonzero(rows.categorical).tolist(),
    )  # fmt: skip


def log_loss(labels: Any, scores: Scores) -> float:
    """Mean negative log-likelihood."""
    right = np.where(labels == 1, scores, 1 - scores)
    return float(-np.log(np.clip(right, 1e-15, 1)).mean())


def main(argument: str) -> None:
    """Search, then train every incumbent on all rows."""
    import lightgbm
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lightgbm.register_logger(Quiet())
    tuning = Tuning.of(argument)
    tuning.keep_to_cores()
    rows = Rows.read(tuning)
    older, newest = rows.forward()
    watch = Stopwatch()

    def trial(each: Any) -> float:
        settings = drawn(each)
        model = trained(rows, older, settings, tuning)
        loss = log_loss(rows.labels[newest], model.predict_proba(rows.vectors[newest])[:, 1])
        watch.found(loss, settings)
        return loss

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=tuning.seed))
    study.optimize(trial, timeout=tuning.seconds)
    seconds = watch.seconds

    def refit(incumbent: Incumbent) -> Scores:
        model = trained(rows, slice(None), incumbent.settings, tuning)
        scores: Scores = model.predict_proba(rows.tested)[:, 1]
        return scores

    hand_back(tuning, rows, seconds, watch.incumbents, refit)


class Quiet:
    """Takes what LightGBM would print."""

    def info(self, message: str) -> None:
        """Nothing is done with it."""

    def warning(self, message: str) -> None:
        """Nothing is done with it."""


if __name__ == "__main__":
    main(sys.argv[1])
