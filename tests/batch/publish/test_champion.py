"""A retrain is judged against the champion by the journal, whatever was published last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from batch.publish.orders import Order, roll_back
from batch.retrain import Options, RetrainResult, retrain
from tidemill.clock import FakeClock
from tidemill.declaration import Project
from tidemill.registry import Registry
from tidemill.roles import RoleChange
from tidemill.schema import schema_of

CLOCK = FakeClock(1_400_000_000_000)


def run(project: Project, home: Path) -> RetrainResult:
    """Retrain on one thread."""
    return retrain(project, home, lambda announcement: None, CLOCK, Options(threads=1))


def test_what_was_given_up_is_no_champion(
    project: Project, backfilled: Path, go_live: Callable[..., None]
) -> None:
    """A release that its learner gave up is passed over; so is one that was rolled back from."""
    run(project, backfilled)
    go_live(backfilled)
    assert "r0002" == run(project, backfilled).release
    registry, schema = Registry(backfilled, "p"), schema_of(project).hash
    given_up = RoleChange("r0002", "given_up", schema, CLOCK.now_ms(), "worker", "worse")
    registry.enter(lambda standings: given_up)
    assert "r0001" == run(project, backfilled).report.champion_release
    assert "r0003" == registry.champion(schema)
    roll_back(registry, schema, None, Order("ann", CLOCK.now_ms()))
    assert "r0001" == run(project, backfilled).report.champion_release
