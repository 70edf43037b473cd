"""A dataset of 10 million archived examples of 28 features, against pandas doing the same.

Both read the archive's Parquet files, count each example once (what was sent again, what was
corrected), bring the rows into the order of their labels, describe every feature and write Parquet.
Each runs in a process of its own; `*_peak` is the largest resident size it had, libraries included.
`ratios` are pandas' seconds and bytes divided by ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench._example_archive import project, write_archive
from bench._peers import ROOT, Peer, PeerFailed
from bench._result import median, own_versions, result
from bench.peers.dataset_answer import equal
from tidemill.schema import schema_of

ROWS, QUICK_ROWS = 10_000_000, 60_000
ROUNDS = 3
_SECONDS = 1_200.0
PANDAS = Peer("pandas_dataset", "pandas", own=True)


def run(quick: bool) -> dict[str, object]:
    """Make the archive, then the dataset by turns."""
    skipped: dict[str, str] = {"pandas": "not in a quick run"} if quick else {}
    ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        records = write_archive(home, QUICK_ROWS if quick else ROWS)
        for _ in range(1 if quick else ROUNDS):
            ours.append(_ours(home))
            if skipped:
                continue
            try:
                theirs.append(_pandas(home))
            except PeerFailed as failure:
                skipped["pandas"] = str(failure)
    samples: dict[str, tuple[str, list[float]]] = {
        "ours": ("s", [each["seconds"] for each in ours]),
        "ours_peak": ("bytes", [each["peak_bytes"] for each in ours]),
        "records": ("1", [records]),
        "rows": ("1", [each["answer"]["rows"] for each in ours]),
    }
    ratios = {}
    if theirs:
        samples["pandas"] = ("s", [each["seconds"] for each in theirs])
        samples["pandas_peak"] = ("bytes", [each["peak_bytes"] for each in theirs])
        for name, measure in (("pandas", "ours"), ("pandas_peak", "ours_peak")):
            ratios[name] = median(samples[name][1]) / median(samples[measure][1])
    versions = own_versions("numpy", "pyarrow") | ({"pandas": PANDAS.version()} if theirs else {})
    return result(
        "dataset", samples, equal=_agree(ours, theirs), ratios=ratios, skipped=skipped,
        versions=versions,
    )  # fmt: skip


def _agree(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    """True when every round gave the same, and pandas found it too."""
    first = ours[0]
    again = all(each["id"] == first["id"] for each in ours)
    return again and all(equal(first["answer"], each["answer"]) for each in (*ours, *theirs))


def _ours(home: Path) -> dict[str, Any]:
    """One dataset of ours. Raises CalledProcessError."""
    file = home / "ours.json"
    told = json.dumps({"home": str(home), "file": str(file)})
    subprocess.run(
        (sys.executable, "-m", "bench._dataset_ours", told), check=True, cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=_SECONDS,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _pandas(home: Path) -> dict[str, Any]:
    """The same by pandas. Raises PeerFailed."""
    out, file = home / "pandas.parquet", home / "pandas.json"
    arguments = {
        "folder": str(home / "archive" / "project=bench" / "topic=examples"), "out": str(out),
        "file": str(file), "features": list(schema_of(project()).names),
    }  # fmt: skip
    found = PANDAS.run(arguments, file, _SECONDS)
    out.unlink()
    return found
