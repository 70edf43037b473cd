"""Vowpal Wabbit as a peer of `bench quality`: its default online logistic regression.

Numbers go in as they are (its updates are scale-free and adaptive), categories as features of
their own, what is missing is left out. `options.arguments` are added to its command line.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from vowpalwabbit import pyvw

from bench.peers.exam import Exam, Rows, sit


def main(argument: str) -> None:
    """Sit the exam."""
    exam = Exam.of(argument)
    rows = Rows.read(exam)
    told = f"--loss_function logistic --link logistic -b 22 --quiet {exam.options['arguments']}"
    model = pyvw.Workspace(told)
    texts = Texts(rows)

    def learn(row: int, label: int) -> None:
        model.learn(f"{2 * label - 1} {texts[row]}")

    sit(exam, rows, lambda row: float(model.predict(texts[row])), learn)
    model.finish()


class Texts:
    """Rows in Vowpal Wabbit's format: numbers in namespace n, categories in namespace c."""

    def __init__(self, rows: Rows) -> None:
        self._vectors = rows.vectors
        self._numbers = np.flatnonzero(~rows.categorical)
        self._codes = np.flatnonzero(rows.categorical).tolist()

    def __getitem__(self, row: int) -> str:
        values: Any = self._vectors[row]
        there = self._numbers[~np.isnan(values[self._numbers])]
        numbers = " ".join(
            f"{k}:{value:.6g}" for k, value in zip(there, values[there], strict=True)
        )
        codes = " ".join(f"{k}={values[k]:g}" for k in self._codes)
        return f"|n {numbers} |c {codes}"


if __name__ == "__main__":
    main(sys.argv[1])
