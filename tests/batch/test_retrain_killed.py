"""A retrain that is killed at any point is gone on with, and gives what it would have given."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import batch.run
from batch.exit_codes import ExitCode
from batch.retrain import Options, retrain
from batch.run import Runs
from tidemill.clock import FakeClock
from tidemill.declaration import Project
from tidemill.registry import Registry
from tidemill.wire import Announcement

CLOCK = FakeClock(1_400_000_000_000)
STAGES = ("champion", "dataset", "search", "candidate", "gate", "release", "publish", "announce")


class Killed(BaseException):
    """Stands for the end of the process."""


class Killing:
    """Ends the first attempts of a run's stages: before, within and after each, once."""

    def __init__(self) -> None:
        self.stage = batch.run.Run.stage
        self.done: list[tuple[str, str]] = []
        self.made: list[str] = []

    def __call__(
        self, run: batch.run.Run, name: str, make: Callable[[], Mapping[str, bytes]]
    ) -> dict[str, bytes]:
        """In the place of `Run.stage`."""

        def killed_within() -> Mapping[str, bytes]:
            found = make()
            self.made.append(name)
            self._end(name, "within")
            return found

        self._end(name, "before")
        found = self.stage(run, name, killed_within)
        self._end(name, "after")
        return found

    def _end(self, *point: str) -> None:
        if point not in self.done:
            self.done.append(point)
            raise Killed


def test_every_stage_is_gone_on_with(
    project: Project, backfilled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One run, one release, no stage that was finished done again, and the bytes as ever."""
    never_killed = tmp_path / "never_killed"
    shutil.copytree(backfilled, never_killed, ignore=shutil.ignore_patterns("never_killed"))
    retrain(project, never_killed, lambda _: None, CLOCK, Options(threads=1))
    killing = Killing()
    monkeypatch.setattr(batch.run.Run, "stage", lambda run, name, make: killing(run, name, make))
    said: list[Announcement] = []
    result, attempts = None, 0
    while result is None:
        attempts += 1
        try:
            result = retrain(project, backfilled, said.append, CLOCK, Options(threads=1))
        except Killed:
            continue
    assert (ExitCode.PUBLISHED, "r0001", "run0001") == (
        result.exit_code, result.release, result.run,
    )  # fmt: skip
    record = Runs(backfilled, "p").record("run0001")
    assert (attempts, "published", "r0001") == (record.attempts, record.outcome, record.release)
    assert 1 + 3 * len(STAGES) == attempts
    assert list(STAGES) == [stage.name for stage in record.stages]
    assert {name: 2 for name in STAGES} == {name: killing.made.count(name) for name in STAGES}
    registry = Registry(backfilled, "p")
    assert ["r0001"] == registry.names()
    first = Registry(never_killed, "p")
    texts = [each.read(each.manifest("r0001"), "model.txt") for each in (first, registry)]
    assert texts[0] == texts[1]
    assert {"r0001"} == {announcement.release for announcement in said}
