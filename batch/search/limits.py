"""The gate's limits on a model's size and latency, as a trial's constraints."""

from __future__ import annotations

from tidemill.declaration import Project


def excess_of(project: Project, size_bytes: int, latency_us: float) -> dict[str, float]:
    """By which share each declared limit is exceeded; not positive where it is kept."""
    gate = project.gate
    pairs = {
        "size_bytes": (size_bytes, gate.size_bytes),
        "latency_us": (latency_us, gate.latency_us),
    }
    return {name: value / most - 1 for name, (value, most) in pairs.items() if most is not None}


def limited_latency(project: Project) -> bool:
    """True when a model's latency must be measured."""
    return project.gate.latency_us is not None
