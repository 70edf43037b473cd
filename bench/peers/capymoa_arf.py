"""CapyMOA's adaptive random forest (MOA's, in Java) as a peer of `bench quality`.

Numbers go in as they are, categories by their code, a missing number as -1. `options.trees` is the
size of the forest.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from capymoa.classifier import AdaptiveRandomForestClassifier
from capymoa.core import Instance, LabeledInstance
from capymoa.stream import NumpyStream

from bench.peers.exam import Exam, Rows, sit


def main(argument: str) -> None:
    """Sit the exam."""
    exam = Exam.of(argument)
    rows = Rows.read(exam)
    vectors = np.nan_to_num(rows.vectors.astype(float), nan=-1.0)
    # The schema is read off a table in which both labels are present.
    shape = np.zeros((2, vectors.shape[1]))
    schema: Any = NumpyStream(shape, np.array([0, 1]), dataset_name="rows").get_schema()
    model: Any = AdaptiveRandomForestClassifier(
        schema=schema, ensemble_size=exam.options["trees"], random_seed=7
    )

    def score(row: int) -> float:
        given = model.predict_proba(Instance.from_array(schema, vectors[row]))
        if given is None or given.sum() <= 0:
            return 0.5
        return float(given[1] / given.sum()) if len(given) > 1 else 0.0

    def learn(row: int, label: int) -> None:
        model.train(LabeledInstance.from_array(schema, vectors[row], label))

    sit(exam, rows, score, learn)


if __name__ == "__main__":
    main(sys.argv[1])
