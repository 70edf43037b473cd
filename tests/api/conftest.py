"""A small project, a release trained for it, and a service on in-memory ports."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest

from api.http.app import ScoringApp, create_app
from api.ports import PlanPorts, Ports, ProjectFile
from api.service import ScoringService
from features.inspection.look import Inspector
from features.plan import FeaturePlan, compile_plan
from features.store import MemoryStore
from features.vectors import VectorReader
from learners.release import TREES_FILE, ModelFile, release_files
from learners.snapshot import Snapshot, digest
from learners.tree_head import TreeHead as Head
from learners.trees import FrozenTrees
from tidemill.bus import Outgoing
from tidemill.clock import FakeClock
from tidemill.declaration import Project
from tidemill.errors import BusUnavailable, StoreUnavailable
from tidemill.learner_kinds import TreeHead
from tidemill.registry import Manifest, Registry
from tidemill.roles import RoleChange
from tidemill.settings import Settings
from tidemill.topics import Names
from tidemill.wire import Announcement, Prediction, decode

sys.path.insert(0, str(Path(__file__).parent))

from payments import make_project, train_model  # noqa: E402 - only found after the line above

NOW_MS = 1_400_000_000_000
SETTINGS = Settings(prediction_queue=500, batch_limit=200, body_limit_bytes=65_536)


@pytest.fixture(scope="session")
def model_text() -> bytes:
    """One trained model for all tests."""
    return train_model(compile_plan(make_project()))


class RecordingProducer:
    """Keeps what is sent by topic kind; refuses while `down`, waits while `held`."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Outgoing]] = {}
        self.down = False
        self.refusals = 0
        self.open = asyncio.Event()
        self.open.set()

    async def send_many(
        self,
        kind: str,
        records: Sequence[Outgoing],
        partition: int | None = None,
    ) -> None:
        """Keep the records or raise BusUnavailable."""
        await self.open.wait()
        if self.down:
            self.refusals += 1
            raise BusUnavailable("broker: connection refused")
        self.sent.setdefault(kind, []).extend(records)

    def predictions(self) -> list[Prediction]:
        """The predictions sent so far."""
        return [decode(Prediction, sent[1]) for sent in self.sent.get("predictions", [])]


class CountingStore(MemoryStore):
    """A memory store that counts its reads and can be gone or hang."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.gone = self.hangs = False

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """One counted round trip, which lets others run first as a network does."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.gone:
            raise StoreUnavailable("connection refused")
        if self.hangs:
            await asyncio.Event().wait()
        return await super().read(keys)


@dataclass
class World:
    """A service and everything around it, with handles to change it."""

    plan: FeaturePlan
    clock: FakeClock
    store: CountingStore
    producer: RecordingProducer
    registry: Registry
    model_text: bytes
    declared: Callable[[], Project] = make_project
    stamp: int = 0
    applied: dict[str, dict[int, int]] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    snapshot: bytes | None = None
    snapshot_reads: int = 0
    beside: dict[str, bytes] = field(default_factory=dict)
    store_gone: bool = False
    broker_gone: bool = False
    worker: tuple[dict[str, object], list[object]] = field(default_factory=lambda: ({}, []))
    announced: asyncio.Queue[Announcement] = field(default_factory=asyncio.Queue)
    service: ScoringService = None  # type: ignore[assignment]
    app: ScoringApp = None  # type: ignore[assignment]

    def release(
        self, name: str = "r0001", schema: str | None = None, files: dict[str, bytes] | None = None
    ) -> None:
        """Publish the model as a release, of these files where they are given."""
        features = list(self.plan.schema.names)
        manifest = Manifest(
            name, "payments", schema or self.plan.schema.hash, features, 0, 0, 0, 1, {}, {}, {}, {}
        )
        files = files or release_files(ModelFile(TREES_FILE, self.model_text))
        self.registry.publish(manifest, files)

    def write_snapshot(
        self, number: int, release: str = "r0001", **changes: object
    ) -> Announcement:
        """Put a snapshot into the store; returns what a learner would announce."""
        head = Head.warm_start(FrozenTrees.parse(self.model_text), TreeHead())
        head.weights += number * 1e-3
        snapshot = Snapshot(
            learner="head", release=release, number=number, base=number,
            schema=self.plan.schema.hash,
            examples=number * 10, offset=number * 10, sequences={}, state=head.snapshot(),
            created_ms=NOW_MS,
        )  # fmt: skip
        self.snapshot = msgspec.structs.replace(snapshot, **changes).encode()
        return Announcement(
            "snapshot", "head", release, number, digest(self.snapshot), NOW_MS, number * 10
        )

    def challenge(self, release: str = "r0002", share: float = 0.0, number: int = 50) -> None:
        """Set a release beside the champion, with a learner that has learned something else."""
        if release not in self.registry.names():
            self.release(release)
        change = RoleChange(release, "challenger", self.plan.schema.hash, 1, share=share)
        self.registry.enter(lambda standings: change)
        before = self.snapshot
        self.write_snapshot(number, release, learner=f"head@{release}")
        self.beside[f"head@{release}"], self.snapshot = self.snapshot or b"", before

    async def read_challenger(self, learner: str, release: str, number: int) -> list[bytes]:
        """A challenger's snapshot as the store has it."""
        if self.store_gone:
            raise StoreUnavailable("connection refused")
        return [self.beside[learner]] if learner in self.beside else []

    async def read_snapshots(self, release: str, number: int) -> list[bytes]:
        """The snapshot as the store has it."""
        self.snapshot_reads += 1
        if self.store_gone:
            raise StoreUnavailable("connection refused")
        return [self.snapshot] if self.snapshot is not None else []

    def load_project(self) -> Project:
        """What the project file says now."""
        return self.declared()

    def of_plan(self, plan: FeaturePlan) -> PlanPorts:
        """What is read for one declaration; only the first one's learner has snapshots."""
        names = Names("payments", 4, plan.state, plan.schema.hash)
        first = plan.schema.hash == self.plan.schema.hash

        async def nothing(release: str, number: int) -> list[bytes]:
            return []

        async def progress() -> dict[int, int]:
            await self.check_store()
            return self.applied.get(plan.state, {0: 17, 1: 4})

        async def note_serving() -> None:
            await self.check_store()
            self.served.append(plan.schema.hash)

        return PlanPorts(
            VectorReader(plan, names, self.store, deadline_ms=20),
            self.read_snapshots if first else nothing,
            progress, self.read_worker_status, note_serving, Inspector(plan, names, self.store),
            self.read_challenger,
        )  # fmt: skip

    async def announcements(self) -> AsyncIterator[Announcement]:
        """What is put into `announced`."""
        while True:
            yield await self.announced.get()

    async def check_store(self) -> None:
        """Answer as the store does."""
        if self.store_gone:
            raise StoreUnavailable("connection refused")

    async def check_broker(self) -> None:
        """Answer as the broker does."""
        if self.broker_gone:
            raise BusUnavailable("no broker")

    async def read_worker_status(self) -> tuple[dict[str, object], list[object]]:
        """What the worker wrote."""
        await self.check_store()
        return self.worker


@pytest.fixture
def world(tmp_path, model_text: bytes) -> World:
    """A service that is not running; no release is published yet."""
    plan, clock, store = compile_plan(make_project()), FakeClock(NOW_MS), CountingStore()
    world = World(
        plan, clock, store, RecordingProducer(), Registry(tmp_path, "payments"), model_text
    )
    ports = Ports(
        world.producer, world.registry, world.announcements, world.check_store,
        world.check_broker, world.of_plan, ProjectFile(world.load_project, lambda: world.stamp),
    )  # fmt: skip
    world.service = ScoringService(plan, ports, SETTINGS, clock)
    world.app = create_app(world.service)
    return world


@pytest.fixture
async def served(world: World) -> World:
    """A service that has adopted its first release; its background tasks do not run."""
    world.release()
    await world.service.adoption.adopt_newest()
    return world


@dataclass
class Reply:
    """What a call was answered with."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Caller:
    """Calls an ASGI app directly, one message at a time."""

    def __init__(self, app: ScoringApp, port: int = 80) -> None:
        self._app, self._port = app, port
        self.received = 0

    async def __call__(
        self, method: str, path: str, *chunks: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> Reply:
        """One request whose body comes in these chunks."""
        messages = [
            {"type": "http.request", "body": chunk, "more_body": i + 1 < len(chunks)}
            for i, chunk in enumerate(chunks or (b"",))
        ]
        sent: list[dict] = []

        async def receive() -> dict:
            self.received += 1
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            sent.append(message)

        target, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "path": unquote(target), "raw_path": target.encode(), "root_path": "",
            "query_string": query.encode(), "scheme": "http", "headers": list(headers),
            "server": ("test", self._port), "client": ("test", 1),
        }  # fmt: skip
        await self._app(scope, receive, send)
        if not sent:
            return Reply(0, {}, b"")
        found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))

    async def post(self, path: str, value: object) -> Reply:
        """POST a value as JSON."""
        return await self("POST", path, msgspec.json.encode(value))


@pytest.fixture
def call(world: World) -> Caller:
    """Calls the world's app."""
    return Caller(world.app)


@pytest.fixture
def caller_of() -> type[Caller]:
    """`caller_of(app, port=81)` calls any app, on any port."""
    return Caller


@pytest.fixture
def request_body() -> dict[str, object]:
    """A request that can be scored."""
    return {"card": "c1", "shop": "s1", "amount": 12.5, "country": "NZ", "time": NOW_MS}


async def poll_until(condition) -> None:
    """Let the loop run until the condition holds; fails after five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def until():
    """`await until(lambda: condition)`: bounded polling."""
    return poll_until
