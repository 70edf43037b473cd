"""The result file of a benchmark, as the design fixes it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

Samples = Mapping[str, tuple[str, Sequence[float]]]
"""Per measure its unit and what each round found."""


Part = Mapping[str, Any]
"""What one part of a benchmark found: `samples`, `ratios`, `skipped`, `equal`, and if it likes the
`versions` of its packages."""


def joined(name: str, parts: Sequence[Part]) -> dict[str, object]:
    """The result file of several parts; its answers are equal when those of each part are."""

    def every(field: str) -> dict[str, Any]:
        return {key: value for part in parts for key, value in part.get(field, {}).items()}

    return result(
        name,
        every("samples"),
        equal=all(part["equal"] for part in parts),
        ratios=every("ratios"),
        skipped=every("skipped"),
        versions=every("versions"),
    )


def median(samples: Sequence[float]) -> float:
    """The middle of the samples."""
    return float(np.median(samples))


def rounded(value: float) -> float:
    """Three decimals; four digits of what is less than 1."""
    return round(value, 3) if abs(value) >= 1 else float(f"{value:.4g}")


def result(  # noqa: PLR0913 - a result file has these parts
    name: str,
    samples: Samples,
    *,
    equal: bool,
    ratios: Mapping[str, float],
    skipped: Mapping[str, str],
    versions: Mapping[str, str],
) -> dict[str, object]:
    """The fields of the file; a measure's value is the median of its samples."""
    measures: dict[str, Any] = {
        measure: {
            "value": rounded(median(values)),
            "unit": unit,
            "samples": [rounded(value) for value in values],
        }
        for measure, (unit, values) in samples.items()
    }
    return {
        "benchmark": name,
        "machine": {
            "cpus": os.cpu_count(), "platform": platform.platform(), "processor": processor()
        },
        "versions": {"python": platform.python_version(), **versions},
        "answers_equal": equal,
        "measures": measures,
        "ratios": {peer: round(ratio, 2) for peer, ratio in ratios.items()},
        "skipped": dict(skipped),
    }  # fmt: skip


def own_versions(*packages: str) -> dict[str, str]:
    """The installed versions of packages."""
    return {package: version(package) for package in packages}


def processor() -> str:
    """The processor's name as Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()
