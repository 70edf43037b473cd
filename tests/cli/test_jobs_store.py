"""Jobs come to the store that each project's console reads; one that is away does no harm."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import redis

from batch.schedule.entries import ProjectEntry, Schedule
from batch.schedule.job import JobRequest
from batch.schedule.planner import Quotas
from batch.schedule.queue import JobQueue
from cli.jobs_store import AFTER_FAILURE_MS, EVERY_MS, JobsPublisher
from cli.main import app
from cli.services.valkey import EmbeddedValkey
from tidemill.clock import FakeClock
from tidemill.jobs import JobsReport
from tidemill.topics import Names

NOW = 1_400_000_000_000


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    """A queue with a job of two projects each."""
    with closing(JobQueue(tmp_path)) as made:
        for project in ("flights", "cards"):
            made.add(JobRequest(project, "skew"), "hand", NOW)
        yield made


def schedule(**environment: str) -> Schedule:
    """Two projects, of which the first has this environment."""
    first = ProjectEntry(Path("/f.py"), environment)
    projects = {"flights": first, "cards": ProjectEntry(Path("/c.py"), {})}
    return Schedule(Quotas((0,)), projects)


def test_each_project_finds_its_own_jobs(queue: JobQueue, tmp_path: Path) -> None:
    """In its own store or in the scheduler's, every two seconds."""
    clock = FakeClock(NOW)
    with EmbeddedValkey(tmp_path / "valkey") as server:
        publisher = JobsPublisher({"TIDEMILL_REDIS": server.url}, clock)
        with redis.Redis.from_url(server.url) as client:
            for passed in (0, EVERY_MS - 1, 1):
                clock.advance(passed)
                publisher.publish(schedule(), queue)
                found = msgspec.json.decode(client.get(Names("cards", 1).jobs()), type=JobsReport)
                expected = NOW if clock.now_ms() < NOW + EVERY_MS else clock.now_ms()
                assert (expected, ["cards: skew"]) == (
                    found.seen_ms, [each.what for each in found.waiting],
                )  # fmt: skip


def test_a_store_that_is_away_is_left_alone_for_a_while(
    queue: JobQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a try, and the scheduler goes on; without an address nothing is tried."""
    clock = FakeClock(NOW)
    publisher = JobsPublisher({}, clock)
    away = schedule(TIDEMILL_REDIS="redis://127.0.0.1:1/0")
    for passed in (0, AFTER_FAILURE_MS - 1, 1):
        clock.advance(passed)
        publisher.publish(away, queue)
    told = capsys.readouterr()
    assert 2 == (told.out + told.err).count("jobs not published")


def test_every_kind_of_job_is_a_command() -> None:
    """What a job runs, the command line knows, with `--threads` where it is said to."""
    from batch.schedule.kinds import KINDS

    groups = {"": app} | {f"{g.name} ": g.typer_instance for g in app.registered_groups}
    commands = {
        group + (command.name or command.callback.__name__): command.callback
        for group, each in groups.items()
        for command in each.registered_commands
    }
    assert set() == {" ".join(kind.words) for kind in KINDS.values()} - set(commands)
    for kind in KINDS.values():
        options = commands[" ".join(kind.words)].__annotations__
        assert kind.threads == ("threads" in options)
