"""Some of New York's flights with their vectors and labels, and releases trained on them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
from numpy.typing import NDArray

from cli.demo.backfill import Backfill
from cli.demo.history import History, data_folder, read_history
from cli.demo.messages import request_bodies
from cli.demo.timeline import rows
from features.plan import compile_plan
from learners.release import TREES_FILE, ModelFile, release_files
from learners.trees import FrozenTrees
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.loading import load_project
from tidemill.registry import Manifest, Registry
from tidemill.topics import LABELS, PREDICTIONS, Names
from tidemill.wire import Prediction, vector_bytes

PROJECT_FILE = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
PLAN = compile_plan(load_project(PROJECT_FILE))
LABEL = msgspec.json.Encoder()


def names_of(partitions: int, project: str = PLAN.project.name) -> Names:
    """Topics and keys of the project, or of the same under another name."""
    return Names(project, partitions, PLAN.state, PLAN.schema.hash)


def some_days(folder: Path, month: int, days: int) -> History:
    """The history of so many days from a month's first, as if nothing had been before.

    Read from a copy of these days only, in a twentieth of the time that all of them take.
    """
    dates = [date(2013, month, 1) + timedelta(days=day) for day in range(days)]
    wanted = tuple(f"2013,{each.month},{each.day}," for each in dates)
    source = data_folder()
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        flights = archive.read("flights.csv").decode()
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", _cut(flights, wanted))
    at = tuple(f"{o},{w}" for o in ("EWR", "JFK", "LGA") for w in wanted)
    weather = _cut((source / "weather.csv").read_text(), at)
    (folder / "weather.csv").write_text(weather)
    return read_history(folder)


def _cut(text: str, starts: tuple[str, ...]) -> str:
    head, *lines = text.splitlines()
    return "\n".join([head, *(line for line in lines if line.replace('"', "").startswith(starts))])


@dataclass(frozen=True)
class Flights:
    """Requests in the order of their times with vectors (rows, features), and their outcomes.

    `labels` float64 (rows,), `label_times` int64 ms (rows,): when the outcome is known.
    """

    history: History
    vectors: NDArray[np.float32]
    labels: NDArray[np.float64]
    label_times: NDArray[np.int64]

    @classmethod
    def of(cls, history: History) -> Flights:
        """Vectors by the project's own kernel, at barriers an hour apart."""
        end_ms = int(history.requests["time"][-1]) + HOUR_MS
        return cls.labelled(
            history, *Backfill(PLAN, history, end_ms - end_ms % DAY_MS + DAY_MS, HOUR_MS).run()
        )

    @classmethod
    def labelled(
        cls, history: History, chosen: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> Flights:
        """Some requests, whose vectors these are, with their labels."""
        place = {key: at for at, key in enumerate(history.labels["key"].tolist())}
        said = np.array([place[key] for key in history.requests["flight"][chosen].tolist()])
        labels = history.labels
        return cls(history, vectors, labels["value"][said].astype(float), labels["time"][said])

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def times(self) -> NDArray[np.int64]:
        """When each is asked, in ms."""
        found: NDArray[np.int64] = self.history.requests["time"]
        return found

    @cached_property
    def keys(self) -> list[str]:
        """Their join keys."""
        found: list[str] = self.history.requests["flight"].tolist()
        return found

    @cached_property
    def bodies(self) -> list[bytes]:
        """Their requests as JSON."""
        fields = [field.name for field in PLAN.project.request.columns]
        return request_bodies(fields, rows(self.history.requests, slice(None)))

    def label(self, row: int, value: float | None = None, producer: str = "") -> bytes:
        """The JSON of one outcome, or of another value than it was."""
        said = float(self.labels[row] if value is None else value)
        body = {"key": self.keys[row], "value": said, "time": int(self.label_times[row])}
        return LABEL.encode(body | ({"producer": producer} if producer else {}))

    def moments(self) -> list[tuple[int, str, int]]:
        """(time, topic, row) of every prediction and label, in the order of their times."""
        asked = [(int(time), PREDICTIONS, row) for row, time in enumerate(self.times)]
        known = [(int(time), LABELS, row) for row, time in enumerate(self.label_times)]
        return sorted(asked + known, key=lambda each: (each[0], each[1] == LABELS))

    def predictions(self, model: bytes, release: str) -> Iterator[Prediction]:
        """What an api that serves this release would have logged."""
        scores = FrozenTrees.parse(model).predict_many(self.vectors).tolist()
        for row, score in enumerate(scores):
            time = int(self.times[row])
            yield Prediction(
                f"p{row}", self.keys[row], time, vector_bytes(self.vectors[row]),
                PLAN.schema.hash, score, score, release, 0, time,
            )  # fmt: skip


def train(
    vectors: NDArray[np.float32], labels: NDArray[np.float64], rounds: int = 40, leaves: int = 31
) -> bytes:
    """A LightGBM model of these examples, as text."""
    data = lightgbm.Dataset(
        vectors, labels, feature_name=[*PLAN.schema.names],
        categorical_feature=[*PLAN.schema.categorical],
    )  # fmt: skip
    settings = {"objective": "binary", "verbose": -1, "num_leaves": leaves, "seed": 7,
                "num_threads": 1, "learning_rate": 0.05, "min_data_in_leaf": 50}  # fmt: skip
    return lightgbm.train(settings, data, rounds).model_to_string().encode()


def publish(registry: Registry, model: bytes, rows_used: int, offsets: dict[str, int]) -> str:
    """Publish a model as the next release, trained to these offsets; returns its name."""
    name = registry.next_name()
    manifest = Manifest(
        name, registry.folder.name, PLAN.schema.hash, [*PLAN.schema.names], 1, 0, 1, rows_used,
        offsets, {}, {}, {},
    )  # fmt: skip
    registry.publish(manifest, release_files(ModelFile(TREES_FILE, model)))
    return name
