"""Makes a dataset in a process of its own: `python -m bench._dataset_ours ARGUMENTS` (JSON)."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batch.datasets import hashing, statistics
from batch.datasets.build import build
from batch.datasets.store import DatasetStore
from batch.training_set import TrainingSet
from bench._example_archive import project
from bench.peers.dataset_answer import answer
from features.plan import compile_plan
from tidemill.dataset_rule import DatasetRule


def main(arguments: dict[str, Any]) -> None:
    """Make it and write how long that took, the memory it took, and what came out."""
    home, plan = Path(arguments["home"]), compile_plan(project())
    hashing.hash_strings(pa.chunked_array([["compile"]]))
    statistics.add_moments(np.zeros((1, 1), np.float32), np.zeros((5, 1)))
    store = DatasetStore(home, "bench")
    started = time.perf_counter()
    made = build(TrainingSet(home, plan), DatasetRule(), store)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    files = [str(store.folder(made.id) / name) for name in sorted(made.parts)]
    found = {"seconds": seconds, "peak_bytes": peak, "answer": answer(files), "id": made.id}
    shutil.rmtree(store.folder(made.id))
    Path(arguments["file"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
