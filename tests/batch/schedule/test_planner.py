"""The plan obeys quotas and order, whatever the queue."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from scheduling import HOUR, MINUTE, NOW, job, quotas  # noqa: E402

from batch.schedule.job import Held, Job  # noqa: E402
from batch.schedule.planner import Plan, Quotas, plan, rank  # noqa: E402
from batch.schedule.resources import Room, held_as_need, left_of  # noqa: E402


def started(found: Plan) -> list[int]:
    """The numbers of the jobs that start."""
    return [each.id for each, _ in found.starts]


def test_jobs_start_until_the_machine_is_full() -> None:
    """Each has cores of its own; the next one is told what is missing."""
    found = plan(NOW, [job(1, cores=2), job(2, cores=1), job(3, cores=2)], [], quotas(4))
    assert [1, 2] == started(found)
    assert [(0, 1), (2,)] == [held.cores for _, held in found.starts]
    assert {3: "this machine: needs 2 cores, 1 free"} == found.waits


def test_a_wait_from_a_clock_that_was_wrong_is_over() -> None:
    """No job waits longer than the longest wait there is, however far the clock was ahead."""
    waiting = [job(1, ready_ms=NOW + HOUR), job(2, ready_ms=NOW + 1000 * HOUR)]
    found = plan(NOW, waiting, [], quotas(4))
    assert ([2], {1: "not yet"}) == (started(found), found.waits)


def test_production_goes_first() -> None:
    """However long an experiment has waited."""
    waiting = [job(1, submitted_ms=NOW - 100 * HOUR), job(2, production=True)]
    assert [2] == started(plan(NOW, waiting, [], quotas(1)))


def test_a_point_of_priority_is_an_hour_of_waiting() -> None:
    """So none waits for ever."""
    important = job(1, priority=2, submitted_ms=NOW)
    early = job(2, submitted_ms=NOW - 2 * HOUR - MINUTE)
    late = job(3, submitted_ms=NOW - 2 * HOUR + MINUTE)
    assert [2, 1, 3] == [each.id for each in sorted((late, important, early), key=rank)]


def test_no_later_job_passes_one_that_the_machine_is_too_full_for() -> None:
    """Else a stream of small jobs would keep a large one waiting for ever."""
    running = [job(9, "running", held=Held((0, 1)))]
    found = plan(NOW, [job(1, cores=3), job(2, cores=1)], running, quotas(4))
    assert [] == started(found)
    assert "after job 1" == found.waits[2]


def test_a_full_quota_stops_only_its_own_project() -> None:
    """What that quota has left stays free for it, the rest is another's."""
    running = [job(9, "running", held=Held((0,)))]
    waiting = [
        job(1, cores=2), job(2, cores=1), job(3, project="cards", cores=1),
        job(4, project="cards", cores=2),
    ]  # fmt: skip
    found = plan(NOW, waiting, running, quotas(4, flights=Room(cores=2)))
    assert [3] == started(found)
    assert "quota of flights: needs 2 cores, 1 free" == found.waits[1]
    assert "after job 1" == found.waits[2]
    assert "this machine: needs 2 cores, 1 free" == found.waits[4]


def test_what_asks_for_more_than_there_is_never_starts() -> None:
    """And keeps no other waiting."""
    waiting = [job(1, cores=5), job(2, gpus={"h100": 1}), job(3, cores=3), job(4, cores=1)]
    found = plan(NOW, waiting, [], quotas(4, flights=Room(cores=2)))
    assert [4] == started(found)
    assert {1, 2, 3} == set(found.never)
    assert "never fits into the quota of flights: needs 3 cores, 2 free" == found.never[3]


def test_a_job_without_a_size_takes_all_memory_that_its_project_may_have() -> None:
    """A limit that nobody named must not be guessed."""
    waiting = [job(1), job(2), job(3, project="cards", memory=4)]
    found = plan(NOW, waiting, [], quotas(4, 10, flights=Room(memory_bytes=6)))
    assert [1, 3] == started(found)
    assert [6, 4] == [held.memory_bytes for _, held in found.starts]


def test_devices_are_given_by_label() -> None:
    """Each to one job."""
    gpus = {"h100": ("0", "1"), "small": ("2",)}
    waiting = [job(1, gpus={"h100": 1, "small": 1}), job(2, gpus={"h100": 1})]
    running = [job(9, "running", held=Held((0,), None, {"h100": ("0",)}))]
    found = plan(NOW, waiting, running, quotas(4, gpus=gpus))
    assert [{"h100": ("1",), "small": ("2",)}] == [held.gpus for _, held in found.starts]
    assert "this machine: needs 1 GPU h100, 0 free" == found.waits[2]


def test_what_backs_off_is_not_in_the_way() -> None:
    """It starts when its time has come."""
    waiting = [job(1, cores=4, ready_ms=NOW + 1, failures=1), job(2)]
    found = plan(NOW, waiting, [], quotas(4))
    assert [2] == started(found)
    assert "backoff" == found.waits[1]
    assert [1] == started(plan(NOW + 1, waiting[:1], [], quotas(4)))


def test_two_retrains_of_a_project_run_one_after_the_other() -> None:
    """The second would only find the lock; another project's is not in its way."""
    waiting = [job(n, kind="retrain", project=p) for n, p in ((1, "flights"), (2, "flights"))]
    found = plan(NOW, [*waiting, job(3, kind="retrain", project="cards")], [], quotas(4))
    assert [1, 3] == started(found)
    assert "another retrain of flights runs" == found.waits[2]


def test_a_project_that_the_schedule_lost_waits() -> None:
    """It may come back."""
    found = plan(NOW, [job(1, project="gone")], [], quotas(4))
    assert {1: "the schedule names no project gone"} == found.waits


EXPERIMENTS = [
    job(7, "running", held=Held((0, 1)), submitted_ms=NOW),
    job(8, "running", held=Held((2,)), submitted_ms=NOW + 1),
    job(9, "running", held=Held((3,)), submitted_ms=NOW + 2, production=True),
]


@pytest.mark.parametrize(("cores", "expected"), [(1, [8]), (2, [8, 7]), (4, [])])
def test_the_newest_experiments_are_stopped_for_production(cores: int, expected: list) -> None:
    """As few as it takes, and none where that would not do."""
    waiting = [job(1, production=True, cores=cores)]
    assert () == plan(NOW, waiting, EXPERIMENTS, quotas(4)).stops
    found = plan(NOW, waiting, EXPERIMENTS, quotas(4, preempt=True))
    assert expected == [each.id for each in found.stops]


def test_what_stops_already_is_not_stopped_for_again() -> None:
    """Its room is waited for."""
    running = [msgspec.structs.replace(EXPERIMENTS[0], order="preempt"), *EXPERIMENTS[1:]]
    waiting = [job(1, production=True, cores=2)]
    assert () == plan(NOW, waiting, running, quotas(4, preempt=True)).stops


def test_an_experiment_stops_for_no_experiment() -> None:
    """Only production is worth it."""
    assert () == plan(NOW, [job(1)], EXPERIMENTS, quotas(4, preempt=True)).stops


# ---- Whatever the queue

rooms = st.builds(Room, cores=st.none() | st.integers(1, 6), memory_bytes=st.none() | st.just(9))
machines = st.builds(
    Quotas,
    st.integers(1, 6).map(lambda count: tuple(range(count))),
    st.none() | st.integers(1, 12),
    st.just({"a": ("0", "1")}),
    st.fixed_dictionaries({"flights": rooms, "cards": rooms}),
    st.booleans(),
)
queues = st.lists(
    st.fixed_dictionaries(
        {
            "project": st.sampled_from(["flights", "cards"]),
            "production": st.booleans(),
            "kind": st.sampled_from(["skew", "retrain"]),
            "cores": st.integers(1, 4),
            "memory": st.none() | st.integers(1, 6),
            "gpus": st.sampled_from([{}, {"a": 1}]),
            "priority": st.integers(-2, 2),
            "ready_ms": st.sampled_from([NOW, NOW + HOUR]),
            "submitted_ms": st.integers(NOW - 5 * HOUR, NOW),
        }
    ),
    max_size=12,
)


def jobs_of(queue: list) -> list[Job]:
    """The queue as jobs."""
    return [job(number, **each) for number, each in enumerate(queue, 1)]


def over(found: list[tuple[Job, Held]], machine: Quotas) -> list[str]:
    """Every limit that these break."""
    taken = [(each.request.project, held_as_need(held)) for each, held in found]
    left = [("machine", left_of(machine.machine, (need for _, need in taken)))]
    for name, room in machine.projects.items():
        left.append((name, left_of(room, (need for project, need in taken if project == name))))
    broken = []
    for name, room in left:
        amounts = [room.cores, room.memory_bytes, *(room.gpus or {}).values()]
        broken += [name for amount in amounts if amount is not None and amount < 0]
    cores = [core for _, held in found for core in held.cores]
    devices = [each for _, held in found for ids in held.gpus.values() for each in ids]
    return broken + ["twice"] * (len(cores) + len(devices) - len(set(cores)) - len(set(devices)))


@settings(max_examples=300, deadline=None)
@given(queues, machines)
def test_never_over_quota_and_all_is_done_in_the_end(queue: list, machine: Quotas) -> None:
    """Round after round nothing exceeds a limit, and every job that can run does run once."""
    waiting, now, ran = jobs_of(queue), NOW, []
    running: list[tuple[Job, Held]] = []
    for _ in range(4 * len(queue) + 4):
        holding = [msgspec.structs.replace(j, held=h, state="running") for j, h in running]
        found = plan(now, waiting, holding, machine)
        assert found == plan(now, waiting, holding, machine)
        running += found.starts
        assert [] == over(running, machine)
        gone = set(started(found)) | set(found.never)
        waiting = [each for each in waiting if each.id not in gone]
        assert set(found.waits) >= {each.id for each in waiting}
        ran += started(found)
        running, now = running[1:], now + HOUR  # the one that runs longest ends
    assert [] == waiting
    assert len(set(ran)) == len(ran)


@settings(max_examples=300, deadline=None)
@given(queues, machines)
def test_no_experiment_starts_before_production(queue: list, machine: Quotas) -> None:
    """While a ready production job lacks room on the machine, none does."""
    found = plan(NOW, jobs_of(queue), [], machine)
    by_id = {each.id: each for each in jobs_of(queue)}
    blocked = [n for n, why in found.waits.items() if why.startswith("this machine")]
    if any(by_id[number].request.production for number in blocked):
        assert all(by_id[number].request.production for number in started(found))
    classes = [not each.request.production for each, _ in found.starts]
    assert sorted(classes) == classes


@settings(max_examples=300, deadline=None)
@given(queues, machines)
def test_equals_start_in_the_order_they_came(queue: list, machine: Quotas) -> None:
    """Of one project and class, with equal needs and priority, none passes an older one."""
    same = [each | {"cores": 1, "memory": 1, "gpus": {}, "priority": 0} for each in queue]
    found = plan(NOW, jobs_of(same), [], machine)
    for one, _ in found.starts:
        for number in set(found.waits) - set(found.never):
            other = next(each for each in jobs_of(same) if each.id == number)
            alike = ("project", "production", "kind")
            if all(getattr(one.request, n) == getattr(other.request, n) for n in alike):
                assert rank(one) < rank(other) or other.ready_ms > NOW
