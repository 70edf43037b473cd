"""River's classifiers as peers of `bench quality`: `arf`, `alma` and `logistic`, by their defaults.

The linear ones see standardised numbers and categories one-hot; the forest sees numbers as they
are, categories by their code, a missing number as -1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.peers.exam import Exam, Rows, sit


def make(name: str) -> Any:
    """The estimator; its seed is fixed."""
    from river import forest, linear_model

    if name == "arf":
        return forest.ARFClassifier(seed=7)
    linear = {"alma": linear_model.ALMAClassifier, "logistic": linear_model.LogisticRegression}
    return linear[name]()  # its numbers are standardised by `Scaler`, which leaves categories be


class Scaler:
    """Running standardisation of the numbers of a row, by Welford's method, in NumPy.

    River's own StandardScaler does the same in a Python loop over the features and takes longer
    than the model behind it.
    """

    def __init__(self, width: int) -> None:
        self._count, self._mean, self._sum = np.zeros(width), np.zeros(width), np.zeros(width)

    def learn(self, values: Any) -> None:
        """Take in one row; what is missing changes nothing."""
        there = ~np.isnan(values)
        self._count += there
        change = np.where(there, values - self._mean, 0.0)
        self._mean += change / np.maximum(self._count, 1)
        self._sum += change * np.where(there, values - self._mean, 0.0)

    def scaled(self, values: Any) -> Any:
        """One row, standardised; missing and constant numbers are 0."""
        spread = np.sqrt(self._sum / np.maximum(self._count, 1))
        found = np.divide(values - self._mean, spread, out=np.zeros(len(values)), where=spread > 0)
        return np.nan_to_num(found)


def main(argument: str) -> None:
    """Sit the exam."""
    exam = Exam.of(argument)
    rows, name = Rows.read(exam), exam.options["model"]
    model, encode, meet = make(name), *encoder(rows, name)

    def score(row: int) -> float:
        given = model.predict_proba_one(encode(row))
        return float(given.get(1, 0.0)) if given else 0.5

    def learn(row: int, label: int) -> None:
        meet(row)
        model.learn_one(encode(row), label)

    sit(exam, rows, score, learn)


def encoder(
    rows: Rows, name: str
) -> tuple[Callable[[int], dict[Any, float]], Callable[[int], None]]:
    """How a row becomes a dict, and what must be told of a row before it is learned."""
    vectors = rows.vectors.astype(float)
    if name == "arf":
        plain = np.nan_to_num(vectors, nan=-1.0)
        return (lambda row: dict(enumerate(plain[row].tolist()))), (lambda row: None)
    codes = np.flatnonzero(rows.categorical).tolist()
    numbers = vectors[:, ~rows.categorical]
    scaler = Scaler(numbers.shape[1])

    def encode(row: int) -> dict[Any, float]:
        found: dict[Any, float] = dict(enumerate(scaler.scaled(numbers[row]).tolist()))
        for place in codes:
            found[f"{place}={vectors[row, place]:g}"] = 1.0
        return found

    return encode, lambda row: scaler.learn(numbers[row])


if __name__ == "__main__":
    main(sys.argv[1])
