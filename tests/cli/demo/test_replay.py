"""The driver against stand-ins for the api and the broker: what is sent when."""

import json

import numpy as np
import pytest

from cli.demo.client import Reply
from cli.demo.history import History
from cli.demo.options import DemoOptions
from cli.demo.progress import Progress
from cli.demo.replay import Connections, Replay
from cli.demo.timeline import Range
from tidemill.declaration import Project
from tidemill.errors import ServiceError
from tidemill.feature_kinds import Window
from tidemill.label import Label
from tidemill.sources import Entity, Event, Request

LEFT = Event("left", "at", {"at": str})
REQUEST = Request({"flight": str, "at": str})
PROJECT = Project(
    "small", (LEFT,), REQUEST, (Window("n", LEFT, ("count",), (Entity("at", ("at",)),), ("1h",)),),
    Label(("flight",), "1d"),
)  # fmt: skip


class Options(DemoOptions):
    """A range of three steps of ten milliseconds."""

    span = Range(10, 40, 10)


class World:
    """Api and broker in one: remembers what came, in order; applies events a while after."""

    def __init__(self) -> None:
        self.log: list[tuple[str, object]] = []
        self.sent = self.applied = self.polls = 0
        self.failures = 0

    async def send_many(
        self, kind: str, records: list[tuple[bytes, bytes]], partition: int | None = None
    ) -> dict[int, int]:
        """The broker."""
        self.log += [(kind, json.loads(body)["time"]) for _, body in records]
        if kind == "events":
            self.sent += len(records)
        return {0: self.sent} if kind == "events" else {}

    async def get(self, path: str) -> Reply:
        """The api's progress: everything is applied at every third question."""
        self.polls += 1
        if self.polls % 3 == 0:
            self.applied = self.sent
        return Reply(200, json.dumps({"events": {"0": self.applied}}).encode(), 0.1)

    async def post(self, path: str, bodies: list[bytes]) -> list[Reply]:
        """The api's scores; the first `failures` are 503."""
        replies = []
        for body in bodies:
            request = json.loads(body)
            if self.failures:
                self.failures -= 1
                replies.append(Reply(503, b"later", 1.0))
                continue
            self.log.append((path, request["time"], self.applied))
            replies.append(Reply(200, b"{}", 2.0))
        return replies


def history() -> History:
    """Events, requests and labels around the barriers 10, 20 and 30."""

    def texts(*values: str) -> np.ndarray:
        return np.array(values, dtype=object)

    return History(
        {"left": {"time": np.array([5, 10, 11, 30]), "at": texts("a", "b", "a", "b")}},
        {
            "time": np.array([10, 19, 20]),
            "flight": texts("x", "y", "z"),
            "at": texts("a", "a", "b"),
        },
        {
            "time": np.array([25, 31, 31]),
            "key": texts("x", "y", "z"),
            "value": np.array([0, 1, 0], np.int8),
            "asked": np.array([10, 19, 20]),
        },
    )


async def drive(world: World, **options: object) -> Progress:
    """Replay the history above."""
    progress = Progress(flights_total=3)
    connections = Connections(world, world, world, world)

    async def between(step) -> bool:
        return False

    await Replay(PROJECT, history(), Options(**options), connections, progress).run(between)
    return progress


async def test_flights_are_scored_when_exactly_the_events_of_their_barrier_are_applied():
    """Requests at 10 and 19 see the events at 5 and 10, the one at 20 also that at 11."""
    world = World()
    progress = await drive(world)
    scores = [entry[1:] for entry in world.log if entry[0] == "/v1/score"]
    assert scores == [(10, 2), (19, 2), (20, 3)]
    assert (progress.scored, progress.failed, progress.events_sent) == (3, 0, 4)


async def test_every_label_is_sent_once_by_one_of_two_roads():
    """The first of fifty goes through the api."""
    world = World()
    progress = await drive(world)
    assert [entry[1] for entry in world.log if entry[0] == "/v1/labels"] == [25]
    assert [entry[1] for entry in world.log if entry[0] == "labels"] == [31, 31]
    assert progress.labels_sent == 3


async def test_failed_request_is_counted_and_not_repeated():
    """What failed and why is kept."""
    world = World()
    world.failures = 1
    progress = await drive(world)
    assert (progress.scored, progress.failed, progress.repeated) == (2, 1, 0)
    assert progress.failures == ["status 503: later"]


async def test_retry_repeats_until_answered():
    """Where processes are killed on purpose nothing may be missing in the end."""
    world = World()
    world.failures = 2
    progress = await drive(world, retry=True)
    assert (progress.scored, progress.failed, progress.repeated) == (3, 0, 2)


async def test_progress_that_cannot_be_read_ends_the_run():
    """A service that does not answer is an error, not a wait without end."""
    world = World()

    async def gone(path: str) -> Reply:
        return Reply(0, b"", 0.0)

    world.get = gone
    with pytest.raises(ServiceError, match="GET /v1/progress: found status 0"):
        await drive(world)
