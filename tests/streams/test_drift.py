"""What the monitor finds becomes alerts, and at most one retrain per cool-down."""

import asyncio

import msgspec
import numpy as np
import pytest
from stream_world import NOW, World, make_prediction, plan

from streams.alerts import Alerts
from streams.drift import Cooldown, DriftWatch
from tidemill.drift import Drift
from tidemill.topics import ALERTS
from tidemill.wire import Alert, Example, decode, vector_bytes

HOUR = 3_600_000
SETTINGS = Drift(reference=500, newest=200, retrain=True, cooldown="6h")


class Retrains:
    """Notes the reasons; refuses while `busy`."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.busy = False

    def start(self, reason: str) -> bool:
        """As the process that is started would answer."""
        if not self.busy:
            self.reasons.append(reason)
        return not self.busy


def examples(rows: int, shift: float = 0.0, seed: int = 1, release: str = "r0001") -> list[Example]:
    """Examples whose features can be moved."""
    rng = np.random.default_rng(seed)
    width = len(plan().schema.names)
    base = make_prediction("k", NOW)
    return [
        Example(
            msgspec.structs.replace(
                base, score=0.5, release=release,
                vector=vector_bytes(rng.normal(shift, 1, width).astype(np.float32)),
            ),
            float(rng.integers(2)), NOW, NOW, 0, i + 1,
        )
        for i in range(rows)
    ]  # fmt: skip


def watch(world: World, retrains: Retrains, settings: Drift = SETTINGS, last: int | None = None):
    """A watch on the world's alerts, and these."""
    alerts = Alerts(world.context.producer, world.clock)
    return DriftWatch(settings, world.context, alerts, retrains.start, last), alerts


def test_the_cool_down_is_over_when_its_time_has_passed() -> None:
    """The first may start at once, the next after the time, not before."""
    cooldown = Cooldown(100)
    assert cooldown.is_over(0)
    cooldown.started(50)
    assert (False, True) == (cooldown.is_over(149), cooldown.is_over(150))
    assert not Cooldown(100, last_ms=50).is_over(149)


async def test_drift_is_an_alert_that_says_what_moved(world: World) -> None:
    """It begins and ends in the topic, is counted, and is shown to whoever asks."""
    drift, alerts = watch(world, Retrains())
    drift.add(examples(600))
    drift.add(examples(400, shift=2.0))
    world.clock.advance(60_000)
    drift.add(examples(1, release="r0002"))
    stopping = asyncio.Event()
    stopping.set()
    await alerts.run(stopping)
    began, ended = (decode(Alert, message.value) for message in world.bus.log(ALERTS))
    assert ("drift", "features", "began", NOW) == (
        began.name, began.subject, began.state, began.began_ms
    )  # fmt: skip
    assert "features moved since release r0001 began, PSI from 0.2 on: " in began.message
    assert ("ended", "release r0002 answers now", NOW) == (
        ended.state, ended.message, ended.began_ms
    )  # fmt: skip
    assert ["ended", "began"] == [alert.state for alert in drift.recent]
    value = world.measurements.registry.get_sample_value
    assert 1.0 == value("tidemill_drift_alerts_total", {"subject": "features"})


def test_a_retrain_starts_once_per_cool_down(world: World) -> None:
    """While drift stands another starts when the cool-down is over, and not before."""
    retrains = Retrains()
    drift, _ = watch(world, retrains)
    drift.add(examples(600))
    assert [] == retrains.reasons
    drift.add(examples(400, shift=2.0))
    assert 1 == len(retrains.reasons)
    assert "features moved" in retrains.reasons[0]
    for hours, expected in ((5, 1), (0.99, 1), (0.01, 2), (3, 2)):
        world.clock.advance(int(hours * HOUR))
        drift.add(examples(10, shift=2.0))
        assert expected == len(retrains.reasons)


def test_a_retrain_that_cannot_start_is_asked_for_again(world: World) -> None:
    """One that still runs does not use up the cool-down."""
    retrains = Retrains()
    retrains.busy = True
    drift, _ = watch(world, retrains)
    drift.add(examples(600))
    drift.add(examples(400, shift=2.0))
    retrains.busy = False
    drift.add(examples(1, shift=2.0))
    drift.add(examples(1, shift=2.0))
    assert 1 == len(retrains.reasons)


def test_the_cool_down_outlives_the_worker(world: World) -> None:
    """A worker that starts after a retrain waits for the rest of it."""
    retrains = Retrains()
    drift, _ = watch(world, retrains, last=NOW - 5 * HOUR)
    drift.add(examples(600))
    drift.add(examples(400, shift=2.0))
    assert [] == retrains.reasons
    world.clock.advance(HOUR)
    drift.add(examples(1, shift=2.0))
    assert 1 == len(retrains.reasons)


@pytest.mark.parametrize("retrain", [True, False])
def test_without_drift_or_leave_nothing_is_retrained(world: World, retrain: bool) -> None:
    """A retrain is only started where it is declared."""
    retrains = Retrains()
    drift, _ = watch(world, retrains, Drift(reference=500, newest=200, retrain=retrain))
    drift.add(examples(600))
    drift.add(examples(400, shift=0.0 if retrain else 2.0))
    assert [] == retrains.reasons
