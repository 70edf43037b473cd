"""What serves: one declaration and all that depends on it, as one value that is exchanged whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from api.adoption import Adoption, ModelLoader, ModelSource
from api.bad_cases import ScoringRules
from api.measurements import Measurements
from api.model import ModelSlot
from api.openapi import request_example
from api.ports import PlanPorts, Ports
from api.prediction_log import PredictionLog
from api.scoring import Scorer, ScorerParts
from features.decoding import RequestDecoder
from features.plan import FeaturePlan
from features.store import MemoryStore
from features.vectors import VectorReader
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.topics import Names


@dataclass(frozen=True, slots=True)
class Shared:
    """What outlives an exchange: the clients, the log of predictions, counts and time."""

    ports: Ports
    log: PredictionLog
    measurements: Measurements
    clock: Clock
    skew_ms: int


@dataclass(frozen=True, slots=True)
class Serving:
    """One declaration's decoder, reader, model and scorer.

    A request is answered by the one it began with, also when another serves meanwhile.
    """

    plan: FeaturePlan
    ports: PlanPorts
    decoder: RequestDecoder
    slot: ModelSlot
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
    project, ports, clock = plan.project, shared.ports, shared.clock
    of_plan = ports.of_plan(plan)
    decoder = RequestDecoder(project, clock, shared.skew_ms)
    slot = ModelSlot(plan.schema.hash, clock.now_ms(), plan.project.task)
    parts = ScorerParts(decoder, of_plan.reader, slot, shared.log, shared.measurements, clock)
    rules = ScoringRules(project, shared.measurements, clock)
    adoption = Adoption(
        ModelLoader(project, plan.schema, ports.registry),
        ModelSource(ports.registry, of_plan.read_snapshots),
        slot, shared.measurements, clock,
    )  # fmt: skip
    scorer = Scorer(parts, [entity.name for entity in project.entities])
    return Serving(plan, of_plan, decoder, slot, rules, scorer, adoption)


def warm_up(serving: Serving) -> None:
    """Read one vector from an empty store: compiles what never ran. Not on a running loop."""
    request = serving.decoder.decode(msgspec.json.encode(request_example(serving.project)))
    names = Names(serving.project.name, 1, serving.plan.state, serving.schema)
    reader = VectorReader(serving.plan, names, MemoryStore(), deadline_ms=60_000)
    asyncio.run(reader.read([request]))
