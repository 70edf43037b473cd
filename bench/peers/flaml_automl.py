"""FLAML as a peer of `bench tune`: its AutoML with log-loss as metric.

It is told what it can be told: which columns are categories, and to hold out the newest rows (its
`split_type="time"`), or with `split` "auto" what it does by itself: a stratified random part.
`estimators` are those it may use, "auto" for its own list. Without `transform` missing numbers stay
missing, which LightGBM can use; else it puts medians in their place. It does not ensemble, as it
does not by default.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from bench.peers.tuning import Incumbent, Rows, Scores, Tuning, hand_back


def frames(rows: Rows) -> tuple[Any, Any]:
    """Training and test rows as pandas has them; a category known from training is one in both."""
    tables = []
    kinds: dict[str, Any] = {}
    for vectors in (rows.vectors, rows.tested):
        table = pandas.DataFrame(vectors, columns=[str(name) for name in rows.names])
        for name in table.columns[rows.categorical]:
            whole = table[name].astype("Int64")
            kinds.setdefault(name, pandas.CategoricalDtype(sorted(whole.dropna().unique())))
            table[name] = whole.astype(kinds[name])
        tables.append(table)
    return tables[0], tables[1]


def incumbents(log: Path) -> list[Incumbent]:
    """What its log says was better than all before; `record` is its number in the log."""
    from flaml.automl.training_log import training_log_reader

    found: list[Incumbent] = []
    with training_log_reader(str(log)) as reader:
        for number, record in enumerate(reader.records()):
            if not found or record.validation_loss < found[-1].loss:
                told = {"record": number, "learner": record.learner} | record.config
                found.append(Incumbent(record.wall_clock_time, record.validation_loss, told))
    return found


def main(argument: str) -> None:
    """Search, then train every incumbent on all rows."""
    from flaml import AutoML

    warnings.simplefilter("ignore")
    tuning = Tuning.of(argument)
    tuning.keep_to_cores()
    rows = Rows.read(tuning)
    known, tested = frames(rows)
    labels = rows.labels.astype(np.int64)
    fixed: dict[str, Any] = {
        "task": "classification",
        "eval_method": "auto",
        "split_type": tuning.options["split"],
        "n_jobs": tuning.cores,
        "skip_transform": not tuning.options["transform"],
    }
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "flaml.log"
        automl = AutoML()
        automl.fit(
            known.copy(), labels, time_budget=tuning.seconds, metric="log_loss", seed=tuning.seed,
            estimator_list=tuning.options["estimators"], log_file_name=str(log), log_type="better",
            verbose=0, **fixed,
        )  # fmt: skip
        seconds = float(automl._state.time_from_start)

        def refit(incumbent: Incumbent) -> Scores:
            again = AutoML()
            again.retrain_from_log(
                str(log), known.copy(), labels, record_id=incumbent.settings["record"],
                train_full=True, **fixed,
            )  # fmt: skip
            scores: Scores = again.predict_proba(tested.copy())[:, 1]
            return scores

        hand_back(tuning, rows, seconds, incumbents(log), refit)


if __name__ == "__main__":
    main(sys.argv[1])
