"""An archive of payments, scored requests and labels, as the worker writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features.archive.definitions import write_definition
from features.archive.files import (
    ARCHIVE_SCHEMAS,
    ArchiveWriter,
    examples_table,
    predictions_table,
)
from features.plan import FeaturePlan, compile_plan
from features.replay import Replayer
from tidemill import (
    DerivedFeature,
    Entity,
    Event,
    Label,
    LabelRate,
    Project,
    Request,
    RequestFeature,
    Window,
    column,
)
from tidemill.topics import EVENTS, EXAMPLES, PREDICTIONS
from tidemill.wire import Example, Prediction

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
START = 1_367_366_400_000

payment = Event("payment", key="card", fields={"card": str, "shop": str, "amount": float})
visit = Event("visit", key="card", fields={"card": str})
request = Request({"card": str, "shop": str, "amount": float})
card, shop = Entity("card", ("card",)), Entity("shop", ("shop",))
OLD = (
    RequestFeature("amount", request.amount),
    Window("paid", payment, ("count", "mean"), (card,), ("1h", "24h"), of=payment.amount),
    DerivedFeature("share", column("amount") / column("paid_mean_card_24h")),
)
NEW = (
    Window("visits", visit, ("count", "age"), (card,), ("1h",)),
    OLD[1],
    Window("sold", payment, ("sum", "std", "last"), (shop,), ("24h",), of=payment.amount),
    OLD[0],
    OLD[2],
)
RATES = (*NEW, LabelRate("bad", (shop,), ("24h",), prior=0.1, weight=2.0))


def project(features: Sequence[Any] = OLD) -> Project:
    """The declaration with these features."""
    return Project(
        name="payments",
        events=(payment, visit),
        request=request,
        features=tuple(features),
        label=Label(key=("card",), wait="1d"),
    )


@dataclass
class Archived:
    """Collects what happens, in the order in which it becomes known, then writes it."""

    home: Path
    plan: FeaturePlan = field(default_factory=lambda: compile_plan(project()))
    events: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    examples: list[tuple[Example, int]] = field(default_factory=list)

    def event(
        self, known_ms: int, time: int | None = None, partition: int = 0, **body: Any
    ) -> None:
        """One event that the broker stamped at `known_ms`."""
        kind = "payment" if "amount" in body else "visit"
        time = known_ms if time is None else time
        content = {"event": kind, "time": time, **body}
        self.events.append(
            {
                "time": time, "event": kind, "id": body.get("id"), "key": body["card"],
                "body": json.dumps(content).encode(), "partition": partition,
                "offset": sum(e["partition"] == partition for e in self.events),
                "known_ms": known_ms,
            }
        )  # fmt: skip

    def score(
        self, scored_ms: int, vector: np.ndarray[Any, Any], time: int | None = None, **body: Any
    ) -> Prediction:
        """One request that was answered with this vector."""
        time = scored_ms if time is None else time
        prediction = Prediction(
            f"p{len(self.predictions)}", body["card"], time, vector.astype("<f4").tobytes(),
            self.plan.schema.hash, 0.5, 0.5, "r0001", 1, scored_ms,
            json.dumps({**body, "time": time}).encode(),
        )  # fmt: skip
        self.predictions.append(prediction)
        return prediction

    def label(self, prediction: Prediction, known_ms: int, value: int) -> None:
        """The outcome of a prediction."""
        sequence = len(self.examples) + 1
        example = Example(prediction, value, known_ms, known_ms, 0, sequence)
        self.examples.append((example, known_ms))

    def write(self) -> Path:
        """Write the archive; returns its home."""
        write_definition(self.home, self.plan, 0)
        for partition in sorted({event["partition"] for event in self.events}):
            rows = [event for event in self.events if event["partition"] == partition]
            table = pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMAS[EVENTS])
            self._append(EVENTS, partition, table)
        known = [prediction.scored_ms for prediction in self.predictions]
        table = predictions_table(self.predictions, 0, range(len(known)), known)
        self._append(PREDICTIONS, 0, table)
        examples = [example for example, _ in self.examples]
        known = [known_ms for _, known_ms in self.examples]
        self._append(EXAMPLES, 0, examples_table(examples, 0, range(len(known)), known))
        return self.home

    def _append(self, topic: str, partition: int, table: pa.Table) -> None:
        ArchiveWriter(self.home, "payments", topic, partition).write(table, len(table))


def columns(records: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Records as columns of the kernel."""
    return {
        name: np.array([r[name] for r in records], object if name in ("card", "shop") else None)
        for name in (*names, "time")
    }


class Oracle:
    """Serves one event and one request at a time, as the worker and the api would."""

    def __init__(self, features: Sequence[Any]) -> None:
        self.replayer = Replayer(compile_plan(project(features)))

    def event(self, time: int, **body: Any) -> None:
        """Apply one event."""
        kind = "payment" if "amount" in body else "visit"
        self.replayer.apply(kind, columns([body | {"time": time}], list(body)))

    def label(self, time: int, shop_name: str, value: int) -> None:
        """Apply one label."""
        row = {"time": np.array([time]), "shop": np.array([shop_name], object)}
        self.replayer.apply("label", row | {"value": np.array([float(value)])})

    def vector(self, time: int, **body: Any) -> np.ndarray[Any, Any]:
        """The vector of one request."""
        return self.replayer.vectors(columns([body | {"time": time}], list(body)))[0]


def live(home: Path, moments: int = 400, seed: int = 3) -> tuple[Archived, dict[str, Any]]:
    """A random stream, served as it comes; returns the archive and what was served by features.

    Events come late and from two partitions; every request is answered from what was known.
    """
    rng = np.random.default_rng(seed)
    archived = Archived(home)
    oracles = {"old": Oracle(OLD), "new": Oracle(NEW), "rates": Oracle(RATES)}
    served: dict[str, list[Any]] = {name: [] for name in oracles}
    now, unlabelled = START, []
    for _ in range(moments):
        now += int(rng.integers(1, 10 * MINUTE))
        body = {"card": f"c{rng.integers(4)}", "shop": f"s{rng.integers(3)}"}
        amount = float(np.float32(rng.lognormal(3)))
        match rng.integers(4):
            case 0:
                vectors = {n: oracle.vector(now, **body, amount=amount)
                           for n, oracle in oracles.items()}  # fmt: skip
                for name, vector in vectors.items():
                    served[name].append(vector)
                prediction = archived.score(now, vectors["old"], **body, amount=amount)
                unlabelled.append((prediction, body["shop"]))
            case 1 if unlabelled:
                prediction, place = unlabelled.pop(0)
                value = int(rng.integers(2))
                archived.label(prediction, now, value)
                oracles["rates"].label(now, place, value)
            case 2:
                visitor = {"card": body["card"]}
                archived.event(now, **visitor, partition=int(rng.integers(2)))
                for oracle in (oracles["new"], oracles["rates"]):
                    oracle.event(now, **visitor)
            case _:
                time = now - int(rng.integers(0, 3 * HOUR)) * int(rng.integers(2))
                paid = body | {"amount": amount}
                archived.event(now, time, int(rng.integers(2)), **paid)
                for oracle in oracles.values():
                    oracle.event(time, **paid)
    for prediction, _ in unlabelled:
        now += 1
        archived.label(prediction, now, 0)
    archived.write()
    order = [int(example.prediction.id[1:]) for example, _ in archived.examples]
    return archived, {name: np.array(found)[order] for name, found in served.items()}
