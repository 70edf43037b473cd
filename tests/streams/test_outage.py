"""An outage is one, however many parts fail how often; the waits grow and begin anew."""

from stream_world import World

from streams.alerts import Alerts
from streams.measurements import Measurements
from streams.outage import Outage
from tidemill.errors import StoreUnavailable

GONE = StoreUnavailable("no answer")


class Noted(Alerts):
    """Alerts that remember."""

    def __init__(self, world: World) -> None:
        super().__init__(world.context.producer, world.clock)

    @property
    def seen(self) -> list[tuple[str, str]]:
        """State and message of each."""
        return [(alert.state, alert.message) for alert in self._waiting]


def paused(measurements: Measurements) -> float | None:
    """The gauge."""
    return measurements.registry.get_sample_value("tidemill_paused", {"step": "fold"})


async def test_an_outage_begins_once_and_ends_when_all_parts_work(world: World) -> None:
    """Two partitions that fail are one outage; the second that works ends it."""
    alerts, measurements = Noted(world), Measurements()
    outage = Outage("fold", measurements, alerts, 0.1, 5.0)
    assert 0 == paused(measurements)
    for part in (0, 1, 0):
        outage.failed(part, "partition paused", GONE)
    outage.worked(0)
    outage.worked(2)
    assert (1, 1) == (paused(measurements), len(alerts.seen))
    outage.worked(1)
    outage.worked(1)
    expected = [("began", "partition paused: no answer"), ("ended", "resumed")]
    assert (0, expected) == (paused(measurements), alerts.seen)


async def test_waits_double_up_to_a_limit_and_begin_anew(world: World) -> None:
    """Each part has its own; success starts it again."""
    outage = Outage("fold", Measurements(), Noted(world), 0.1, 0.5)
    assert [0.1, 0.2, 0.4, 0.5, 0.5] == [outage.failed(0, "paused", GONE) for _ in range(5)]
    assert 0.1 == outage.failed(1, "paused", GONE)
    outage.worked(0)
    assert 0.1 == outage.failed(0, "paused", GONE)
