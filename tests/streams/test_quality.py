"""The running quality goes into the worker's document and into gauges, which leave in time."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest
from stream_world import NOW, World, make_prediction

from learners.progress import Progress, ProgressSettings
from streams.quality import QualityBoard
from tidemill.durations import HOUR_MS
from tidemill.quality import DriftAlert, Maturity, Quality
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.wire import Example


class Learning:
    """Stands where the learning step would."""

    def __init__(self, task: Task = BINARY, values: int = 20) -> None:
        settings = ProgressSettings(HOUR_MS, ("shop",), memory=100, window=100, values=values)
        self.progress = Progress(task, settings)
        self.expert_weights: Mapping[str, float] = {}
        self.count = 0

    def feed(self, shops: Sequence[str], seed: int = 1) -> None:
        """One example for each shop."""
        rng = np.random.default_rng(seed)
        examples = []
        for shop in shops:
            self.count += 1
            made = make_prediction(f"k{self.count}", NOW)
            made = msgspec.structs.replace(
                made, score=rng.random(), request=msgspec.json.encode({"shop": shop})
            )
            label = float(rng.integers(2))
            examples.append(Example(made, label, NOW + 1000, NOW, 0, self.count))
        self.progress.add(examples)


class Drifted:
    """Stands where the drift watch would."""

    recent = [DriftAlert(NOW, "loss", "began", "log-loss rose")]


def board(world: World, learning: Learning) -> QualityBoard:
    """A board on the world's measurements."""
    return QualityBoard(world.measurements, learning, Drifted())  # type: ignore[arg-type]


def test_gauges_have_every_measure_by_role(world: World) -> None:
    """Service beside release; a role that is not there any more leaves."""
    learning = Learning()
    learning.feed(["s1", "s2"] * 50)
    value = world.measurements.registry.get_sample_value
    quality = board(world, learning)
    drawn = quality.running()
    assert {"auc", "log_loss"} == set(drawn)
    for name in ("auc", "log_loss", "calibration_error", "accuracy"):
        for role in ("service", "release"):
            assert value(f"tidemill_{name}", {"role": role}) is not None
    made = make_prediction("x", NOW)
    examples = [Example(made, float(i % 2), NOW, NOW, 0, i + 1) for i in range(4)]
    learning.progress.add_candidate(examples, np.full(4, 0.5))
    quality.running()
    assert 0.5 == value("tidemill_auc", {"role": "candidate"})
    learning.progress.drop_candidate()
    quality.running()
    assert value("tidemill_auc", {"role": "candidate"}) is None


def test_gauges_of_slices_are_bounded(world: World) -> None:
    """Of each field only the most frequent values have gauges, and those that left have none."""
    learning = Learning(values=2)
    learning.feed(["a", "a", "b", "b", "c"] * 20)
    value = world.measurements.registry.get_sample_value
    quality = board(world, learning)
    quality.report()
    labels = {"slice": "shop", "role": "service"}
    for shop in ("a", "b", "other"):
        assert value("tidemill_slice_auc", labels | {"value": shop}) is not None
    assert value("tidemill_slice_auc", labels | {"value": "c"}) is None
    learning.feed(["c"] * 60, seed=2)
    quality.report()
    assert value("tidemill_slice_log_loss", labels | {"value": "c"}) is not None


@pytest.mark.parametrize("task", [BINARY, REGRESSION])
def test_numbers_have_theirs(world: World, task: Task) -> None:
    """A regression has errors where a binary task has AUC."""
    learning = Learning(task)
    learning.feed(["a", "b"] * 30)
    quality = board(world, learning)
    value = world.measurements.registry.get_sample_value
    drawn = quality.running()
    quality.report()
    numbers = task == REGRESSION
    assert ({"mae", "rmse"} if numbers else {"auc", "log_loss"}) == set(drawn)
    labels = {"slice": "shop", "role": "service", "value": "a"}
    assert numbers == (value("tidemill_rmse", {"role": "service"}) is not None)
    assert numbers == (value("tidemill_slice_rmse", labels) is not None)


def test_the_document_has_experts_and_drift(world: World) -> None:
    """What other parts know is told beside the measures; it survives the trip through JSON."""
    learning = Learning()
    learning.feed(["a", "b"] * 30)
    learning.expert_weights = {"head": 0.75, "release": 0.25}
    found = board(world, learning).report()
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Quality)
    assert ({"head": 0.75, "release": 0.25}, Drifted.recent) == (found.experts, found.drift)


def test_how_labels_come_is_remembered(world: World) -> None:
    """A worker that begins uses what the one before it knew; damage is passed over."""
    learning = Learning()
    learning.feed(["a", "b"])
    quality = board(world, learning)
    maturity = Maturity(HOUR_MS, True, [60_000, HOUR_MS], [0.95, 1.0])
    for status in (None, b"{}", b'{"quality":{"task":1}}', b"?"):
        quality.remember(status)
        assert not quality.report().maturity.known
    document = msgspec.structs.replace(quality.report(), maturity=maturity)
    quality.remember(msgspec.json.encode({"alive": True, "quality": document}))
    assert maturity == quality.report().maturity
    value = world.measurements.registry.get_sample_value
    assert 60.0 == value("tidemill_maturity_seconds", {"share": "0.9"})
    learning.progress.remember(msgspec.structs.replace(maturity, wait_ms=1, known=True))
    assert maturity == quality.report().maturity
