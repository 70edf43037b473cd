"""The dataset as pandas makes it: read all, drop what was sent again, keep the newest, sort, write.

Run as `python -m bench.peers.pandas_dataset ARGUMENTS` (JSON: folder, out, file, features).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.peers.dataset_answer import answer

COLUMNS = [
    "time", "key", "vector", "label", "label_time", "score", "baseline", "offset", "prediction_id",
    "join_partition", "sequence", "sampled",
]  # fmt: skip


def make(folder: Path, out: Path, features: list[str]) -> pd.DataFrame:
    """Write the dataset; returns its features' statistics."""
    files = sorted(folder.glob("date=*/*.parquet"))
    frame = pd.concat(
        [pd.read_parquet(file, columns=COLUMNS, partitioning=None) for file in files],
        ignore_index=True,
    )
    frame = frame.sort_values("offset", kind="stable")
    frame = frame.drop_duplicates(["join_partition", "sequence"], keep="first")
    frame = frame.drop_duplicates("prediction_id", keep="last")
    frame = frame.sort_values(["label_time", "offset"], kind="stable")
    vectors = np.frombuffer(b"".join(frame.pop("vector")), "<f4").reshape(len(frame), -1)
    facts = frame.drop(columns=["join_partition", "sequence"]).reset_index(drop=True)
    for name in ("time", "label_time"):
        facts[name] = pd.to_datetime(facts[name], unit="ms", utc=True)
    columns = pd.DataFrame(vectors, columns=features)
    made = pd.concat([facts, columns], axis=1)
    made.to_parquet(
        out, index=False, compression="zstd", compression_level=1, use_dictionary=["label"]
    )
    return columns.describe(percentiles=[0.05, 0.25, 0.5, 0.75, 0.95])


def main(arguments: dict[str, Any]) -> None:
    """Make it and write how long that took, the memory it took, and what came out."""
    out = Path(arguments["out"])
    started = time.perf_counter()
    statistics = make(Path(arguments["folder"]), out, arguments["features"])
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"seconds": seconds, "peak_bytes": peak, "answer": answer([str(out)])}
    found["mean"] = float(statistics.loc["mean"].iloc[0])
    Path(arguments["file"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
