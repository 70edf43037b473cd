"""Small tables as streams: each label is known before the next request."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.streams.stream import Stream, even_blocks, plain_schema

ELEC = Path(__file__).resolve().parents[3] / "shared" / "data" / "elec.csv"
ELEC_IS = "the 6-feature variant of the NSW electricity market stream"
BLOCKS = 50


class Missing(Exception):
    """A data set is not on this machine; the text says what is missing."""


def read_elec(file: Path = ELEC) -> Stream:
    """Did the price of electricity rise? 45 312 half hours. Raises Missing."""
    if not file.exists():
        raise Missing(f"{file.name}, {ELEC_IS}, is not here")
    with file.open(encoding="utf-8") as lines:
        names, *found = list(csv.reader(lines))
    table = np.array(found, float)
    return from_table("elec", names[:-1], table[:, :-1], table[:, -1], warm=2_000, every=2_000)


def read_river(name: str, warm: int, every: int) -> Stream:
    """One of the tables that River carries: Phishing, Bananas, Shuttle. Raises Missing."""
    try:
        datasets: Any = importlib.import_module("river.datasets")
    except ImportError:
        raise Missing("river is not installed") from None
    pairs = list(getattr(datasets, name)())
    names = [str(key) for key in pairs[0][0]]
    table = np.array([[float(value) for value in row.values()] for row, _ in pairs])
    labels = np.array([float(label) for _, label in pairs])
    return from_table(name.lower(), names, table, labels, warm, every)


def from_table(  # noqa: PLR0913 - what a table needs to be a stream
    name: str,
    names: list[str],
    table: NDArray[np.float64],
    labels: NDArray[np.float64],
    warm: int,
    every: int,
) -> Stream:
    """Row k is asked at k ms and known in the same step; a release every so many rows."""
    times = np.arange(len(labels), dtype=np.int64)
    return Stream(
        name, np.ascontiguousarray(table, np.float32), labels, times, times,
        plain_schema([text.replace(" ", "_") for text in names]), warm,
        tuple(range(warm + every, len(labels), every)), even_blocks(len(labels), BLOCKS), 1,
    )  # fmt: skip
