"""Turn after turn: what is due is added, started, tried again and told; a crash loses nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scheduling import HOUR, MINUTE, NOW, quotas, request  # noqa: E402

from batch.schedule.entries import CronEntry, ProjectEntry, Schedule  # noqa: E402
from batch.schedule.job import Job  # noqa: E402
from batch.schedule.queue import JobQueue  # noqa: E402
from batch.schedule.report import report  # noqa: E402
from batch.schedule.resources import Room  # noqa: E402
from batch.schedule.runner import MOST_INTERRUPTIONS, Cut, End, Launch  # noqa: E402
from batch.schedule.scheduler import Scheduler, Surroundings  # noqa: E402
from batch.schedule.ticks import Cron  # noqa: E402
from tidemill.clock import FakeClock  # noqa: E402
from tidemill.errors import ServiceError  # noqa: E402


class FakeRunner:
    """Runs nothing; jobs end when a test says so."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.stops: list[tuple[int, Cut]] = []
        self.ends: list[End] = []
        self.kept: set[int] = set()
        self.down = False

    def start(self, launch: Launch) -> str:
        """Remember it."""
        if self.down:
            raise ServiceError("no runner")
        self.launches.append(launch)
        return "process 7"

    def ended(self) -> list[End]:
        """What the test has put there."""
        found, self.ends = self.ends, []
        return found

    def stop(self, number: int, cut: Cut) -> None:
        """Remember it; the job ends at once."""
        self.stops.append((number, cut))
        self.ends.append(End(number, -15, cut))

    def recover(self, launches: Sequence[Launch]) -> set[int]:
        """Those the test says."""
        return self.kept

    def close(self) -> list[End]:
        """End all that was started."""
        return [End(launch.number, -15, "stopped") for launch in self.launches]


class World:
    """A scheduler with everything around it."""

    def __init__(self, home: Path) -> None:
        self.home, self.clock, self.runner = home, FakeClock(NOW), FakeRunner()
        self.queue = JobQueue(home)
        self.told: list[Job] = []
        self.schedule = Schedule(
            quotas(2), {name: ProjectEntry(Path(f"/{name}.py"), {"A": name}) for name in NAMES}
        )
        self.start()

    def start(self) -> None:
        """A scheduler, as after a crash of the one before."""
        around = Surroundings(
            self.home, {"A": "ours", "B": "ours"}, self.clock, Random(7), self.told.append,
            ("tidemill",),
        )  # fmt: skip
        self.scheduler = Scheduler(self.schedule, self.queue, self.runner, around)
        self.scheduler.begin()

    def add(self, **other: object) -> int:
        """A job by hand; its number."""
        return self.queue.add(request(**other), "hand", self.clock.now_ms()).id

    def end(self, number: int, code: int | None, cut: Cut = "") -> Job:
        """Have a job end; as the next turn leaves it."""
        self.runner.ends.append(End(number, code, cut))
        self.scheduler.turn()
        return self.queue.job(number)

    def started(self) -> list[int]:
        """The numbers of all that was started, in order."""
        return [launch.number for launch in self.runner.launches]


NAMES = ("flights", "cards")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A machine of two cores."""
    made = World(tmp_path)
    with closing(made.queue):
        yield made


def test_a_job_runs_and_is_told(world: World) -> None:
    """With the project's file, environment, cores, log and a mark of its own."""
    number = world.add(kind="retrain", arguments=("--json",), cores=2)
    world.scheduler.turn()
    (launch,) = world.runner.launches
    assert ("tidemill", "retrain", "/flights.py", "--json", "--threads", "2") == launch.command
    seen = {name: launch.environment[name] for name in ("A", "B", "OMP_NUM_THREADS")}
    assert {"A": "flights", "B": "ours", "OMP_NUM_THREADS": "2"} == seen
    assert "" == launch.environment["CUDA_VISIBLE_DEVICES"]
    assert world.home / "jobs" / "1" / "1.log" == launch.log
    assert f"{world.home}:1:1" == launch.mark
    job = world.end(number, 3)
    assert ("ended", "done", "refused by the gate: the champion stays") == (
        job.state, job.outcome, job.meaning,
    )  # fmt: skip
    assert [job] == world.told


def test_what_was_entered_as_running_runs_again_once_after_a_crash(world: World) -> None:
    """Killed before its process began, or with it: both look the same, and neither is a failure."""
    number = world.add()
    world.scheduler.turn()
    world.start()
    job = world.queue.job(number)
    assert ("waiting", 1, 0, 1) == (job.state, job.attempt, job.failures, job.interruptions)
    world.scheduler.turn()
    world.scheduler.turn()
    assert [1, 1] == world.started()
    assert [f"{world.home}:1:1", f"{world.home}:1:2"] == [e.mark for e in world.runner.launches]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("place", range(1, 14))
def test_killed_at_any_change_no_job_is_lost_or_doubled(
    world: World, monkeypatch: pytest.MonkeyPatch, place: int, after: bool
) -> None:
    """Before or after any of the queue's changes: each job still ends, one attempt at a time."""
    entry = CronEntry(Cron("0 * * * *"), request(kind="retrain", production=True))
    world.schedule = replace(world.schedule, cron={"hourly": entry})
    world.start()
    world.scheduler.turn()
    by_hand = [world.add() for _ in range(2)]
    world.clock.advance(HOUR)
    left = [place]
    _killed_at(monkeypatch, left, after)
    alive: set[int] = set()
    for _ in range(12):
        try:
            world.scheduler.turn()
            begun = {launch.number for launch in world.runner.launches}
            world.runner.launches.clear()
            assert not alive & begun
            alive |= begun
            world.runner.ends += [End(number, 0) for number in alive]
            alive.clear()
        except Killed:
            # The kernel ends what ran, and nobody was told of it.
            world.runner.launches.clear()
            world.runner.ends.clear()
            alive.clear()
            try:
                world.start()
            except Killed:
                raise AssertionError from None
    ended = world.queue.jobs("ended")
    assert [] == world.queue.jobs("waiting", "running")
    assert ["done"] * 3 == [each.outcome for each in ended]
    assert 1 == sum(each.origin == "cron hourly" for each in ended)
    assert set(by_hand) < {each.id for each in ended}
    assert left[0] <= 0


def _killed_at(monkeypatch: pytest.MonkeyPatch, left: list[int], after: bool) -> None:
    """Be killed at one of the queue's changes, counted down in `left`."""
    for name in ("change", "fire", "tell", "forget"):
        real = getattr(JobQueue, name)

        def once(queue: JobQueue, *values: object, real=real, **named: object) -> object:
            left[0] -= 1
            if left[0] == 0 and not after:
                raise Killed
            found = real(queue, *values, **named)
            if left[0] == 0:
                raise Killed
            return found

        monkeypatch.setattr(JobQueue, name, once)


def test_what_still_runs_elsewhere_is_kept(world: World) -> None:
    """A cluster does not end with the scheduler."""
    number = world.add()
    world.scheduler.turn()
    world.runner.kept = {number}
    world.start()
    assert "running" == world.queue.job(number).state
    assert "done" == world.end(number, 0).outcome
    assert [1] == world.started()


def test_a_job_that_brings_us_down_is_given_up(world: World) -> None:
    """It is no accident any more."""
    number = world.add()
    for _ in range(MOST_INTERRUPTIONS):
        world.scheduler.turn()
        world.start()
    job = world.queue.job(number)
    assert ("ended", "failed") == (job.state, job.outcome)
    assert f"interrupted {MOST_INTERRUPTIONS} times" == job.meaning


def test_a_failure_is_tried_again_later_and_later(world: World) -> None:
    """With waits that double, are spread, and end."""
    number, waits = world.add(attempts=4), []
    world.scheduler.turn()
    for _ in range(3):
        job = world.end(number, 1)
        waits.append(job.ready_ms - world.clock.now_ms())
        world.scheduler.turn()
        assert "waiting" == world.queue.job(number).state
        world.clock.advance(waits[-1])
        world.scheduler.turn()
    job = world.end(number, 1)
    assert ("ended", "failed", 4, 4) == (job.state, job.outcome, job.attempt, job.failures + 1)
    for place, wait in enumerate(waits):
        assert 15_000 * 2**place <= wait <= 30_000 * 2**place


@pytest.mark.parametrize(
    ("kind", "code", "outcome"),
    [
        ("retrain", 0, "done"),
        ("retrain", 1, "retry"),
        ("retrain", 2, "failed"),
        ("retrain", 3, "done"),
        ("retrain", 4, "later"),
        ("retrain", 5, "failed"),
        ("retrain", 6, "failed"),
        ("skew", 6, "failed"),
        ("skew", -9, "retry"),
        ("skew", 77, "retry"),
    ],
)
def test_an_exit_code_decides(world: World, kind: str, code: int, outcome: str) -> None:
    """What another try cannot change is not tried again; a lock is no failure."""
    number = world.add(kind=kind)
    world.scheduler.turn()
    job = world.end(number, code)
    assert outcome == job.outcome
    assert (outcome in ("retry", "later")) == (job.state == "waiting")
    assert (outcome == "retry") == (job.failures == 1 and job.state == "waiting")


def test_a_job_beyond_its_memory_is_not_tried_again(world: World) -> None:
    """It would take as much again; beyond its time it is, because it goes on where it was."""
    first, second = world.add(), world.add()
    world.scheduler.turn()
    assert "failed" == world.end(first, -9, "out of memory").outcome
    assert "retry" == world.end(second, -15, "timed out").outcome


def test_an_operator_cancels_what_runs(world: World) -> None:
    """It is stopped in order, and does not come back."""
    number = world.add()
    world.scheduler.turn()
    world.queue.change(number, "running", order="cancel")
    world.scheduler.turn()
    world.scheduler.turn()
    assert (number, "cancelled") == world.runner.stops[0]
    assert ("ended", "cancelled") == (
        world.queue.job(number).state, world.queue.job(number).outcome,
    )  # fmt: skip


def test_what_was_done_before_it_could_be_cancelled_is_done(world: World) -> None:
    """A release that was published is not called cancelled; what died with us is."""
    first, second = world.add(), world.add()
    world.scheduler.turn()
    for number in (first, second):
        world.queue.change(number, "running", order="cancel")
    assert "done" == world.end(first, 0).outcome
    world.start()
    assert "cancelled" == world.queue.job(second).outcome


def test_production_stops_an_experiment_which_then_goes_on(world: World) -> None:
    """No failure of the experiment's; it waits for its turn."""
    world.schedule = replace(world.schedule, quotas=replace(quotas(2), preempt=True))
    world.start()
    experiment = world.add(cores=2)
    world.scheduler.turn()
    production = world.add(production=True, project="cards")
    for _ in range(3):
        world.scheduler.turn()
    job = world.queue.job(experiment)
    assert [experiment, production] == world.started()
    assert ("waiting", 0, 1, "") == (job.state, job.failures, job.interruptions, job.order)
    world.end(production, 0)
    assert [experiment, production, experiment] == world.started()


def test_cron_adds_what_is_due_once(world: World) -> None:
    """A machine that was off for three hours runs it once, whoever schedules by then."""
    entry = CronEntry(Cron("0 * * * *"), request(kind="retrain", production=True))
    world.schedule = replace(world.schedule, cron={"hourly": entry})
    world.start()
    world.scheduler.turn()
    assert [] == world.started()
    world.clock.advance(3 * HOUR)
    for _ in range(2):
        world.scheduler.turn()
        world.start()
    (job,) = world.queue.jobs("waiting", "running")
    assert "cron hourly" == job.origin
    world.clock.advance(-2 * HOUR)
    world.scheduler.turn()
    assert 1 == len(world.queue.jobs("waiting", "running"))


def test_a_clock_that_was_years_ahead_does_not_silence_cron(world: World) -> None:
    """What it noted is forgotten."""
    entry = CronEntry(Cron("0 * * * *"), request())
    world.schedule = replace(world.schedule, cron={"hourly": entry})
    world.start()
    world.queue.fire("hourly", NOW + 10_000 * HOUR, None, NOW)
    world.scheduler.turn()
    world.clock.advance(HOUR)
    world.scheduler.turn()
    assert [1] == world.started()


def test_a_runner_that_is_away_is_tried_again(world: World) -> None:
    """Its words are the job's, the fault is not."""
    number = world.add()
    world.runner.down = True
    world.scheduler.turn()
    job = world.queue.job(number)
    assert ("waiting", 0, "no runner") == (job.state, job.failures, job.meaning)
    world.runner.down = False
    world.clock.advance(MINUTE)
    world.scheduler.turn()
    assert [number] == world.started()


def test_what_can_never_run_says_so_and_ends(world: World) -> None:
    """It would wait for ever."""
    number = world.add(cores=3)
    world.scheduler.turn()
    assert "never fits on this machine: needs 3 cores, 2 free" == world.queue.job(number).meaning


def test_stopped_in_order_everything_waits_for_the_next(world: World) -> None:
    """And is no failure."""
    number = world.add()
    world.scheduler.turn()
    world.scheduler.close()
    job = world.queue.job(number)
    assert ("waiting", "interrupted", 0) == (job.state, job.outcome, job.failures)


def test_the_report_says_why_and_where(world: World) -> None:
    """Of one project or of all, the newest end first."""
    world.schedule = replace(world.schedule, quotas=quotas(2, cards=Room(cores=1)))
    world.start()
    numbers = [world.add(project="cards") for _ in range(2)] + [world.add()]
    world.scheduler.turn()
    found = report(world.queue, NOW, "cards")
    assert [numbers[0]] == [each.id for each in found.running]
    assert "process 7; core 0" == found.running[0].place
    assert ["quota of cards: needs 1 core, 0 free"] == [each.why for each in found.waiting]
    world.clock.advance(MINUTE)
    world.end(numbers[0], 1)
    found = report(world.queue, world.clock.now_ms())
    again = next(each for each in found.waiting if each.id == numbers[0])
    assert "tried again after: failed" == again.why
    assert again.until_ms is not None
    world.end(numbers[2], 2)
    (end,) = report(world.queue, NOW).ended
    assert ("failed", 2, "a mistake in project, settings or options") == (
        end.outcome, end.exit_code, end.meaning,
    )  # fmt: skip
