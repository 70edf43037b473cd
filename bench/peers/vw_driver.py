"""Vowpal Wabbit's own driver on its own cache file; no loop in Python."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from vowpalwabbit import Workspace


def main() -> None:
    """Make the cache unless it is there, then read and learn it once."""
    told = json.loads(sys.argv[1])
    folder = Path(told["folder"])
    cache = folder / "text.cache"
    words = f"-d {folder / 'text'} --cache_file {cache} -b {told['bits']} --noconstant --quiet"
    words += " --loss_function logistic"
    if told["rule"] == "ftrl":  # its default has other penalties and rates
        words += f" --l1 {told['l1']} --l2 {told['l2']}"
        words += f" --ftrl --ftrl_alpha {told['learning_rate']} --ftrl_beta {told['beta']}"
    if not cache.exists():
        Workspace(words).finish()
    started = time.perf_counter()
    learned = Workspace(words)  # drives through the data before it returns
    seconds = time.perf_counter() - started
    loss = learned.get_sum_loss()
    learned.finish()
    Path(told["file"]).write_text(json.dumps({"seconds": seconds, "loss": loss}))


if __name__ == "__main__":
    main()
