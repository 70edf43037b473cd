"""A model whose answers fail or come too late for a minute answers nobody any more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.adopting.arm_limits import FEWEST, MINUTE_MS, ArmLimits, take_place_away
from api.measuring.measurements import Measurements
from tidemill.clock import FakeClock
from tidemill.demotion import Reason, demoted
from tidemill.memory_bus import MemoryBus
from tidemill.registry import Manifest, Registry
from tidemill.roles import RoleChange, Standings
from tidemill.topics import ALERTS, MODELS, Names
from tidemill.trial import Trial
from tidemill.wire import Alert, Announcement, decode

SCHEMA = "a" * 12
ANSWERING = ("r0002", "r0003")
REASON = Reason("api", "why", 9)


class Second:
    """An api process, one second after the other."""

    def __init__(self, limits: Trial) -> None:
        self.clock, self.measurements = FakeClock(1_000), Measurements()
        self.limits = ArmLimits(limits, self.measurements, self.clock)

    def run(
        self, seconds: int, *, failures: str = "", slow: str = "", answering: tuple = ANSWERING
    ) -> tuple[str, str] | None:
        """Ten requests a second, of which one in ten fails or is slow; the first finding."""
        for _ in range(seconds):
            self.measurements.predictions += 10
            if failures:
                self.measurements.arm_failures[failures] += 1
            for release in answering:
                for call in range(10):
                    late = release == slow and call == 0
                    self.measurements.arm_seconds[release].add(0.01 if late else 0.00001)
            self.measurements.fold()
            self.clock.advance(1_000)
            found = self.limits.judge(answering)
            if found is not None:
                return found
        return None


def test_failures_of_a_minute_are_found() -> None:
    """Not before it is over."""
    second = Second(Trial())
    assert second.run(60, failures="r0003") is None
    found = second.run(2, failures="r0003")
    assert found is not None
    assert "r0003" == found[0]
    assert "failures in 600 requests of a minute; allowed: 1.00%" in found[1]


def test_a_few_failures_are_allowed() -> None:
    """As many as are declared, and what failed before the minute began."""
    assert Second(Trial(errors=0.2)).run(200, failures="r0003") is None
    assert Second(Trial(errors=None)).run(200, failures="r0003") is None
    once = Second(Trial(errors=0.001))
    once.run(1, failures="r0002")
    assert once.run(100) is None


def test_few_requests_say_nothing() -> None:
    """One failure of three is no share."""
    second = Second(Trial())
    for _ in range(100):
        second.measurements.predictions += 1
        second.measurements.arm_failures["r0002"] += 1
        second.clock.advance(MINUTE_MS // (FEWEST // 2))
        assert second.limits.judge(ANSWERING) is None


def test_a_slow_model_is_found() -> None:
    """Where a limit is declared."""
    assert Second(Trial()).run(200, slow="r0002") is None
    found = Second(Trial(latency_us=5_000)).run(100, slow="r0002")
    assert found is not None
    assert "r0002" == found[0] and "allowed: 5000 µs" in found[1]


def test_each_is_judged_by_its_own_minute() -> None:
    """What failed while others answered does not count for those that do now."""
    second = Second(Trial())
    assert second.run(59, failures="r0003") is None
    assert second.run(30, failures="r0003", answering=("r0002",)) is None
    assert second.run(59, failures="r0003") is None


def published(*releases: str) -> list[RoleChange]:
    """Champions one after the other."""
    return [RoleChange(release, "published", SCHEMA, 1) for release in releases]


def standings(*changes: RoleChange) -> Standings:
    """What these come to."""
    return Standings(changes, {change.release for change in changes})


def test_a_champion_makes_room_for_the_one_before() -> None:
    """Once: afterwards it is none any more."""
    found = standings(*published("r0001", "r0002"))
    change = demoted(found, SCHEMA, "r0002", REASON)
    expected = RoleChange("r0001", "rolled_back", SCHEMA, 9, "api", "why", instead_of="r0002")
    assert expected == change
    after = standings(*published("r0001", "r0002"), expected)
    assert demoted(after, SCHEMA, "r0002", REASON) is None
    older = standings(*published("r0000", "r0001", "r0002"), expected)
    assert demoted(older, SCHEMA, "r0001", REASON) is None
    assert demoted(standings(*published("r0001")), SCHEMA, "r0001", REASON) is None


def test_a_canary_is_only_scored_from_now_on() -> None:
    """A shadow stays what it is."""
    canary = RoleChange("r0003", "challenger", SCHEMA, 2, share=0.2)
    found = standings(*published("r0001", "r0002"), canary)
    change = demoted(found, SCHEMA, "r0003", REASON)
    assert RoleChange("r0003", "challenger", SCHEMA, 9, "api", "why") == change
    assert demoted(standings(*published("r0002"), change), SCHEMA, "r0003", REASON) is None


@pytest.fixture
def ports(tmp_path: Path) -> SimpleNamespace:
    """A registry with two releases, and a bus."""
    registry, bus = Registry(tmp_path, "shop"), MemoryBus(Names("shop", 2), FakeClock(0))
    for number in (1, 2):
        registry.publish(
            Manifest(f"r000{number}", "shop", SCHEMA, ["x"], number, 0, 1, 1, {}, {}, {}, {}),
            {"model.txt": b"tree"},
        )
    return SimpleNamespace(registry=registry, producer=bus.producer(), bus=bus)


async def test_it_is_entered_announced_and_told(ports: SimpleNamespace) -> None:
    """Once, however many processes find the same."""
    place, clock = (SCHEMA, "head"), FakeClock(5)
    change = await take_place_away(ports, clock, place, ("r0002", "it fails"))
    assert change is not None
    assert ("r0001", "rolled_back") == (ports.registry.champion(), change.action)
    assert await take_place_away(ports, clock, place, ("r0002", "it fails")) is None
    (said,) = ports.bus.log(MODELS)
    (alert,) = ports.bus.log(ALERTS)
    assert "r0001" == decode(Announcement, said.value).release
    assert ("champion_rolled_back", "it fails") == (
        decode(Alert, alert.value).name, decode(Alert, alert.value).message
    )  # fmt: skip


async def test_a_broker_that_is_away_changes_nothing_of_it(ports: SimpleNamespace) -> None:
    """It is entered, and whoever looks at the roles finds it; only nobody is told."""
    ports.bus.reachable = False
    change = await take_place_away(ports, FakeClock(5), (SCHEMA, "head"), ("r0002", "?"))
    assert change is not None
    assert ("r0001", "rolled_back") == (ports.registry.champion(), change.action)
    assert () == tuple(ports.bus.log(MODELS))


async def test_a_disk_that_is_full_changes_nothing(ports: SimpleNamespace, monkeypatch) -> None:
    """The next minute says the same again."""

    def full(decide):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ports, "registry", SimpleNamespace(enter=full))
    assert await take_place_away(ports, FakeClock(5), (SCHEMA, "head"), ("r0002", "?")) is None


async def test_whoever_waits_for_the_broker_holds_up_no_tick(served, until, monkeypatch) -> None:
    """What is noted is counted every second: until then it takes memory."""
    ticks: list[int] = []

    async def hang(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr("api.service.TICK_SECONDS", 0.001)
    monkeypatch.setattr("api.service.take_place_away", hang)
    monkeypatch.setattr(ArmLimits, "judge", lambda *_: ("r0001", "it is slow"))
    monkeypatch.setattr(Measurements, "tick", lambda *_: ticks.append(1))
    async with served.service.running():
        await until(lambda: len(ticks) > 3)
