"""River's logistic regression with FTRL-proximal, example by example, from dicts in memory."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from river.linear_model import LogisticRegression
from river.optim import FTRLProximal

Rows = list[tuple[dict[int, float], bool]]


def read(file: Path, rows: int) -> Rows:
    """The first examples of Vowpal Wabbit's text as dicts."""
    found: Rows = []
    with open(file, encoding="ascii") as lines:
        for line, _ in zip(lines, range(rows), strict=False):
            label, pairs = line.split(" | ")
            named = (pair.partition(":") for pair in pairs.split())
            values = {int(slot): float(value or 1) for slot, _, value in named}
            found.append((values, label == "1"))
    return found


def model(told: dict[str, Any]) -> LogisticRegression:
    """A model that has learned nothing, without an intercept."""
    rule = FTRLProximal(told["learning_rate"], told["beta"], told["l1"], told["l2"])
    return LogisticRegression(optimizer=rule, intercept_lr=0)


def main() -> None:
    """Predict and learn every row; then, with a new model, only learn."""
    told = json.loads(sys.argv[1])
    rows = read(Path(told["folder"]) / "text", told["rows"])
    learner: Any = model(told)
    started = time.perf_counter()
    for values, label in rows:
        learner.predict_proba_one(values)
        learner.learn_one(values, label)
    seconds = time.perf_counter() - started
    learner = model(told)
    started = time.perf_counter()
    for values, label in rows:
        learner.learn_one(values, label)
    learn_seconds = time.perf_counter() - started
    result = {"seconds": seconds, "learn_seconds": learn_seconds}
    Path(told["file"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
