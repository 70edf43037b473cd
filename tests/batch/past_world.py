"""A service's past: it answered, learned and swapped, and all of it was archived on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import numpy as np
import pyarrow as pa
from archived import MINUTE, OLD, START, Archived, Oracle, project

from batch.replay.replay import Newest, Sources
from features.archive.files import ArchiveWriter
from features.plan import compile_plan
from learners.families import warm_start
from learners.learner import Frozen
from learners.prior import PRIOR, Prior
from learners.release import load_release
from streams.learning import Learning, Place
from tidemill.registry import Manifest, Registry
from tidemill.topics import EXAMPLES
from tidemill.wire import ArmScore, Example, Prediction, vector_bytes

PROJECT = project(OLD)
PLAN = compile_plan(PROJECT)
FILE_ROWS = 10
"""Examples that are archived together."""


@cache
def model_text(seed: int) -> bytes:
    """A small LightGBM model over the project's features."""
    rng = np.random.default_rng(seed)
    matrix = rng.lognormal(2, size=(400, len(PLAN.schema.names))).astype(np.float32)
    labels = (matrix[:, seed % matrix.shape[1]] > 8).astype(int)
    data = lightgbm.Dataset(matrix, labels, feature_name=[*PLAN.schema.names])
    settings = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    return lightgbm.train(settings, data, 5).model_to_string().encode()


class _InFiles(Archived):
    """Archives examples a few at a time."""

    def _append(self, topic: str, partition: int, table: pa.Table) -> None:
        if topic != EXAMPLES:
            return super()._append(topic, partition, table)
        writer = ArchiveWriter(self.home, "payments", topic, partition)
        while writer.next_offset < len(table):
            some = table.slice(writer.next_offset, FILE_ROWS)
            writer.write(some, writer.next_offset + len(some))


@dataclass
class Served:
    """What answers: a copy of the learner, as the api has one."""

    release: str = PRIOR
    snapshot: int = 0
    offset: int = 0
    head: Any = field(default_factory=Prior)


class Past:
    """Every step takes some minutes; nothing is left to chance but what is seeded."""

    def __init__(self, home: Path, seed: int = 1) -> None:
        self.home, self.archived = home, _InFiles(home, PLAN)
        self.registry = Registry(home, "payments")
        self.learning: Learning | None = None
        self.served = Served()
        self._oracle, self._rng = Oracle(OLD), np.random.default_rng(seed)
        self.now, self._unlabelled = START, list[Prediction]()

    @property
    def predictions(self) -> list[Prediction]:
        """All answers."""
        return self.archived.predictions

    @property
    def examples(self) -> list[Example]:
        """The log of examples, by offset."""
        return [example for example, _ in self.archived.examples]

    def release(self, seed: int = 1, trained_to: int = 0, **changes: Any) -> str:
        """Publish a release trained on the examples before an offset; returns its name."""
        name, log = self.registry.next_name(), self.examples[:trained_to]
        offsets = {"examples:0": trained_to} if trained_to else {}
        for example in log:
            offsets[f"sequence:{example.partition}"] = example.sequence
        manifest = Manifest(
            name, "payments", PLAN.schema.hash, [*PLAN.schema.names], 1, 0, 1, 400,
            offsets, {}, {}, {},
        )  # fmt: skip
        manifest = msgspec.structs.replace(manifest, **changes)
        self.registry.publish(manifest, {"model.txt": model_text(seed)})
        return name

    def frozen(self, release: str) -> Frozen:
        """A release as it was made."""
        return load_release(self.registry, release, PROJECT)

    def learn_on(self, release: str) -> None:
        """Let this release's learner take over, when it has caught up."""
        manifest = self.registry.manifest(release).offsets
        sequences = {
            int(name[9:]): reached for name, reached in manifest.items() if name[:9] == "sequence:"
        }
        place = Place(manifest.get("examples:0", 0), sequences)
        if self.learning is not None:
            place.skipped = list(self.learning.place.skipped)
        learner = warm_start(PROJECT.learner, self.frozen(release), PLAN.schema)
        self.learning = Learning(release, learner, place)
        self._learn(list(enumerate(self.examples)))
        self.publish()

    def publish(self) -> None:
        """Write a snapshot, which the api adopts."""
        learning = self.learning
        assert learning is not None
        learning.number += 1
        self.served = Served(
            learning.release, learning.number, learning.offset, learning.learner.clone()
        )

    def pay(self, late: int = 0) -> None:
        """A payment that became known so many ms after its time."""
        self._pass_time()
        body = self._body()
        self.archived.event(self.now, self.now - late, int(self._rng.integers(2)), **body)
        self._oracle.event(self.now - late, **body)

    def score(self, **changes: Any) -> Prediction:
        """Answer a request; `changes` are of the record."""
        self._pass_time()
        body, served = self._body(), self.served
        vector = self._oracle.vector(self.now, **body)
        scores, baselines = served.head.predict_both(vector[None])
        made = Prediction(
            f"p{len(self.predictions)}", body["card"], self.now, vector_bytes(vector),
            PLAN.schema.hash, float(scores[0]), float(baselines[0]), served.release,
            served.snapshot, self.now, json.dumps({**body, "time": self.now}).encode(),
            served.offset,
        )  # fmt: skip
        made = msgspec.structs.replace(made, **changes)
        self.predictions.append(made)
        self._unlabelled.append(made)
        return made

    def label(self, **changes: Any) -> None:
        """The outcome of the prediction that waits longest; it is learned at once."""
        self._pass_time()
        prediction, partition = self._unlabelled.pop(0), int(self._rng.integers(2))
        sequence = 1 + sum(e.partition == partition and e.sequence > 0 for e in self.examples)
        example = Example(
            prediction, float(self._rng.integers(2)), self.now, self.now, partition, sequence,
            float(self._rng.integers(1, 4)),
        )  # fmt: skip
        self.append(msgspec.structs.replace(example, **changes))

    def append(self, example: Example) -> None:
        """One more record of the log of examples."""
        self.archived.examples.append((example, self.now))
        self._learn([(len(self.examples) - 1, example)])

    def live(self, steps: int) -> None:
        """Pay, score, label and publish in turn, as chance has it."""
        for _ in range(steps):
            match self._rng.integers(4):
                case 0:
                    self.pay()
                case 1 if self._unlabelled:
                    self.label()
                case 2 if self.learning is not None:
                    self.publish()
                case _:
                    self.score()

    def sources(self, **more: Any) -> Sources:
        """What a replay goes by; the archive is written."""
        if not (self.home / "archive").exists():
            self.archived.write()
        skipped = tuple(self.learning.place.skipped) if self.learning else ()
        return Sources(self.registry, PLAN, **({"skipped": skipped} | more))

    def newest(self) -> Newest:
        """The learner as it is now."""
        learning = self.learning
        assert learning is not None
        return Newest(learning.release, learning.number, learning.offset, learning.learner)

    def others(self, *releases: str) -> list[ArmScore]:
        """What other models are said to have said."""
        return [ArmScore(release, 1, 0, 0.5) for release in releases]

    def _learn(self, placed: list[tuple[int, Example]]) -> None:
        if self.learning is not None:
            self.learning.learn(placed, PLAN.schema.hash)

    def _body(self) -> dict[str, Any]:
        rng = self._rng
        amount = float(np.float32(rng.lognormal(2)))
        return {"card": f"c{rng.integers(4)}", "shop": f"s{rng.integers(3)}", "amount": amount}

    def _pass_time(self) -> None:
        self.now += int(self._rng.integers(1, 5 * MINUTE))
