"""What every step of a worker is built from: the plan, the names and the ports it uses."""

from __future__ import annotations

from dataclasses import dataclass

from features.plan import FeaturePlan
from features.store import OnlineStore
from streams.measurements import Measurements
from tidemill.bus import Producer
from tidemill.clock import Clock
from tidemill.topics import Names


@dataclass(frozen=True)
class Context:
    """Shared by all steps of one worker; holds no state of its own."""

    plan: FeaturePlan
    names: Names
    store: OnlineStore
    producer: Producer
    measurements: Measurements
    clock: Clock
