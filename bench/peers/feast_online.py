"""Feast's SDK on its Redis online store: get_online_features of many entities, to a dictionary."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.feast_store import Table, open_store


def main() -> None:
    """Read for so many seconds; tell the time of each read and the first answer."""
    task = json.loads(sys.argv[1])
    values, batch = np.load(task["values"]), task["batch"]
    names = [f"values_{n}" for n in range(values.shape[1])]
    table = Table("row", "user", range(len(values)), names, values)
    store = open_store(Path(task["folder"]), task["redis"], [table])

    def read(first: int) -> dict[str, list[Any]]:
        rows = [{"user": first + n} for n in range(batch)]
        found: dict[str, list[Any]] = store.get_online_features(
            features=table.references, entity_rows=rows
        ).to_dict()
        return found

    answer = read(0)
    matrix = [[answer[name][row] for name in names] for row in range(batch)]
    taken: list[float] = []
    until = time.perf_counter() + task["seconds"]
    while (started := time.perf_counter()) < until:
        read(len(taken) * batch % (len(values) - batch + 1))
        taken.append((time.perf_counter() - started) * 1e6)
    Path(task["file"]).write_text(json.dumps({"us": taken, "answer": matrix}))


if __name__ == "__main__":
    main()
