"""What serves: one declaration and all that depends on it, as one value that is exchanged whole."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import msgspec

from api.adopting.adoption import Adoption, ModelSource
from api.adopting.arms import Arm, Arms
from api.adopting.loader import ModelLoader
from api.adopting.model import Lent, ModelSlot, RecordedVectors
from api.measuring.measurements import Measurements
from api.ports import PlanPorts, Ports
from api.road.bad_cases import ScoringRules
from api.road.panel import Panel
from api.road.prediction_log import PredictionLog
from api.road.scoring import Scorer, ScorerParts
from features.decoding import RequestDecoder
from features.plan import FeaturePlan
from features.store import MemoryStore
from features.vectors import VectorReader
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.json_schemas import request_example
from tidemill.topics import Names


@dataclass(frozen=True, slots=True)
class Shared:
    """What outlives an exchange: the clients, the log of predictions, counts, time, threads."""

    ports: Ports
    log: PredictionLog
    measurements: Measurements
    clock: Clock
    skew_ms: int
    lent: Lent
    loading: Executor


@dataclass(frozen=True, slots=True)
class Serving:
    """One declaration's decoder, reader, models and scorer.

    A request is answered by the one it began with, also when another serves meanwhile.
    """

    plan: FeaturePlan
    ports: PlanPorts
    decoder: RequestDecoder
    slot: ModelSlot
    arms: Arms
    rules: ScoringRules
    scorer: Scorer
    adoption: Adoption

    @property
    def project(self) -> Project:
        """The declaration."""
        return self.plan.project

    @property
    def schema(self) -> str:
        """The hash that its vectors, predictions and models carry."""
        return self.plan.schema.hash


def build_serving(plan: FeaturePlan, shared: Shared) -> Serving:
    """Put together what serves a plan; it begins with the prior. Takes some milliseconds."""
    project, clock, measurements = plan.project, shared.clock, shared.measurements
    of_plan = shared.ports.of_plan(plan)
    decoder = RequestDecoder(project, clock, shared.skew_ms)
    recorded = RecordedVectors(project.serving.recorded)
    make = _Models(plan, of_plan, shared, recorded)
    champion = make.arm("")
    arms = Arms(
        plan.schema.hash,
        shared.ports.registry.standings,
        make.arm,
        lambda: champion.slot.current.release,
    )
    panel = Panel(project, champion.slot, arms, measurements)
    parts = ScorerParts(decoder, of_plan.reader, panel, shared.log, measurements, clock, recorded,
                        shared.lent)  # fmt: skip
    rules = ScoringRules(project, measurements, clock)
    return Serving(plan, of_plan, decoder, champion.slot, arms, rules, Scorer(parts, plan),
                   champion.adoption)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Models:
    """Makes places for models of one declaration, and what brings models there."""

    plan: FeaturePlan
    ports: PlanPorts
    shared: Shared
    recorded: RecordedVectors

    def arm(self, challenger: str) -> Arm:
        """That of a challenger; of the champion for the empty name."""
        plan, shared = self.plan, self.shared
        registry, clock = shared.ports.registry, shared.clock
        slot = ModelSlot(plan.schema.hash, clock.now_ms(), plan.project.task, self.recorded)
        loader = ModelLoader(plan.project, plan.schema, registry, shared.lent, challenger)
        of_challenger = partial(self.ports.read_challenger, loader.learner)
        read = of_challenger if challenger else self.ports.read_snapshots
        source = ModelSource(registry, read, shared.loading)
        return Arm(challenger, 0.0, slot,
                   Adoption(loader, source, slot, shared.measurements, clock))  # fmt: skip


def warm_up(serving: Serving) -> None:
    """Read one vector from an empty store: compiles what never ran. Not on a running loop."""
    request = serving.decoder.decode(msgspec.json.encode(request_example(serving.project.request)))
    names = Names(serving.project.name, 1, serving.plan.state, serving.schema)
    reader = VectorReader(serving.plan, names, MemoryStore(), deadline_ms=60_000)
    asyncio.run(reader.read([request]))
