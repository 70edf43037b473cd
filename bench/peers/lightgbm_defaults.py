"""LightGBM by its defaults as a peer of `bench tune`: one training, nothing searched."""

from __future__ import annotations

import sys

from bench.peers.optuna_random import Quiet, trained
from bench.peers.tuning import Incumbent, Rows, Scores, Stopwatch, Tuning, hand_back


def main(argument: str) -> None:
    """Train once on all rows."""
    import lightgbm

    lightgbm.register_logger(Quiet())
    tuning = Tuning.of(argument)
    tuning.keep_to_cores()
    rows = Rows.read(tuning)
    watch = Stopwatch()
    model = trained(rows, slice(None), {}, tuning)
    seconds = watch.seconds

    def refit(_: Incumbent) -> Scores:
        scores: Scores = model.predict_proba(rows.tested)[:, 1]
        return scores

    hand_back(tuning, rows, seconds, [Incumbent(seconds, 0.0, {})], refit)


if __name__ == "__main__":
    main(sys.argv[1])
