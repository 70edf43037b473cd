"""Requests a second and CPU per request of POST /v1/score, against a plain FastAPI route.

Both run the same service in a process of its own under uvicorn, uvloop and httptools, with the
store in an embedded Valkey and a log that keeps nothing; a closed loop of 32 keep-alive connections
in this process asks, each for entities of its own. `empty` is the least any app pays: a raw ASGI
answer without content.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import redis.asyncio
import uvloop
from fastapi import FastAPI
from pydantic import BaseModel

from api.app import ScoringApp, create_app
from api.ports import PlanPorts, Ports, ProjectFile
from api.server import bind, serve_on
from api.service import ScoringService
from cli.services.valkey import EmbeddedValkey
from features.inspection.look import Inspector
from features.plan import FeaturePlan, compile_plan
from features.redis.store import RedisStore
from features.replay import Replayer
from features.vectors import VectorReader
from tidemill import Entity, Event, Label, Project, Request, RequestFeature, Window, hour
from tidemill.clock import SystemClock
from tidemill.registry import Manifest, Registry
from tidemill.settings import Settings
from tidemill.topics import Names
from tidemill.wire import Announcement

CONNECTIONS = 32
TREES, LEAVES = 200, 63
NOW_MS = 1_400_000_000_000
PATHS = {"ours": "/v1/score", "fastapi": "/peer/score", "empty": "/empty/"}


class PeerRequest(BaseModel):
    """The request as a pydantic model."""

    card: str
    shop: str
    amount: float
    time: int | None = None


class Discard:
    """A producer that acknowledges at once and keeps nothing."""

    async def send_many(
        self,
        kind: str,
        records: Sequence[tuple[bytes | None, bytes]],
        partition: int | None = None,
    ) -> Mapping[int, int]:
        """Acknowledge."""
        return {}


def make_plan() -> FeaturePlan:
    """Two entities, 24 window features and two of the request."""
    payment = Event("payment", "card", {"card": str, "shop": str, "amount": float})
    request = Request({"card": str, "shop": str, "amount": float})
    by = (Entity("card", ("card",)), Entity("shop", ("shop",)))
    over = ("1h", "3h", "24h")
    paid = Window("paid", payment, ("count", "sum", "mean", "max"), by, over, payment.amount)
    own = (RequestFeature("amount", request.amount), RequestFeature("hour", hour(request.time)))
    return compile_plan(
        Project("bench", (payment,), request, (paid, *own), Label(("card", "shop"), "1d"))
    )


def publish_release(plan: FeaturePlan, registry: Registry) -> None:
    """Train 200 trees of 63 leaves on noise: the cost of walking them is what matters."""
    random = np.random.default_rng(7)
    matrix = random.normal(size=(20_000, len(plan.schema.names))).astype(np.float32)
    labels = matrix[:, -1] + random.normal(size=len(matrix)) > 0
    data = lightgbm.Dataset(matrix, labels, feature_name=list(plan.schema.names))
    parameters = {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 2}
    text = lightgbm.train(parameters, data, TREES).model_to_string().encode()
    manifest = Manifest("r0001", "bench", plan.schema.hash, list(plan.schema.names),
                        0, 0, 0, 1, {}, {}, {}, {})  # fmt: skip
    registry.publish(manifest, {"model.txt": text})


async def load_store(plan: FeaturePlan, store: RedisStore, names: Names) -> None:
    """Ten payments of every card and shop in the last hours."""
    replayer, rows = Replayer(plan), 10 * CONNECTIONS
    who = np.arange(rows) % CONNECTIONS
    columns = {
        "time": NOW_MS - np.arange(rows, 0, -1, dtype=np.int64) * 60_000,
        "card": np.array([f"c{n}" for n in who], object),
        "shop": np.array([f"s{n}" for n in who], object),
        "amount": np.linspace(1, 100, rows),
    }
    replayer.apply("payment", columns)
    blobs = [
        (names.blob(names.entity_partition(key), entity, key), blob)
        for entity, key, blob in replayer.blobs()
    ]
    await store.write(blobs)


async def make_app(home: Path, store_url: str) -> FastAPI:
    """The service with the peer's route and the empty one beside it."""

    async def announcements() -> AsyncIterator[Announcement]:
        await asyncio.Event().wait()
        never: tuple[Announcement, ...] = ()
        for announcement in never:
            yield announcement

    async def nothing() -> Any:
        return None

    async def no_snapshots(release: str, number: int) -> list[bytes]:
        return []

    plan = make_plan()
    names, store = Names("bench", 4), RedisStore(redis.asyncio.Redis.from_url(store_url))
    await load_store(plan, store, names)
    reader, inspector = VectorReader(plan, names, store), Inspector(plan, names, store)
    of_plan = PlanPorts(reader, no_snapshots, nothing, nothing, nothing, inspector)
    file = ProjectFile(lambda: plan.project, lambda: None)
    ports = Ports(Discard(), Registry(home, "bench"), announcements, nothing, nothing,
                  lambda _: of_plan, file)  # fmt: skip
    service = ScoringService(plan, ports, Settings(), SystemClock())
    app = create_app(service)
    _add_peer(app, service)
    return app


def _add_peer(app: ScoringApp, service: ScoringService) -> None:
    @app.post(PATHS["fastapi"])
    async def peer(request: PeerRequest) -> Any:
        return json.loads(await service.score(request.model_dump_json().encode()))

    async def empty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"2")]})  # fmt: skip
        await send({"type": "http.response.body", "body": b"{}"})

    app.mount("/empty", empty)


def run_server(home: Path, store_url: str, pipe: Connection) -> None:
    """The server's process; tells its port, then serves until SIGTERM."""

    async def serve() -> None:
        await serve_on(await make_app(home, store_url), listener)

    listener = bind("127.0.0.1", 0)
    pipe.send(listener.getsockname()[1])
    uvloop.run(serve())


def request_bytes(path: str, who: int) -> bytes:
    """One HTTP request as it is sent."""
    values = {"card": f"c{who}", "shop": f"s{who}", "amount": 12.5, "time": NOW_MS}
    body = json.dumps(values).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


class _Caller(asyncio.Protocol):
    """Asks again as soon as it was answered, until its time is over."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request, self._until = request, until
        self.seconds: list[float] = []
        self.last = self._received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not length or len(body) < int(length):
            return
        now = time.perf_counter()
        self.seconds.append(now - self._started)
        self.last, self._received = self._received, b""
        if now < self._until and self.last.startswith(b"HTTP/1.1 200"):
            return self._ask()
        self._transport.close()
        self.done.set_result(None)


async def _drive(port: int, path: str, seconds: float) -> tuple[list[float], bytes]:
    loop, until = asyncio.get_running_loop(), time.perf_counter() + seconds
    callers = []
    for who in range(CONNECTIONS):
        caller = _Caller(request_bytes(path, who), until)
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
        callers.append(caller)
    await asyncio.gather(*(caller.done for caller in callers))
    return [s for caller in callers for s in caller.seconds], callers[0].last


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port)) as asking:
            asking.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            if b" 200 " in asking.recv(64):
                return
        time.sleep(0.05)
    raise TimeoutError("the service was not ready within 60 s")


def measure(port: int, pid: int, seconds: float, rounds: int) -> dict[str, list[list[float]]]:
    """Per route and round: requests/s, CPU µs per request, p50 and p99 in ms; routes take turns."""
    found: dict[str, list[list[float]]] = {name: [] for name in PATHS}
    for _ in range(rounds):
        for name, path in PATHS.items():
            before, started = cpu_seconds(pid), time.perf_counter()
            durations, last = uvloop.run(_drive(port, path, seconds))
            elapsed, used = time.perf_counter() - started, cpu_seconds(pid) - before
            if not last.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{path}: {last[:200]!r}")
            p50, p99 = np.percentile(durations, (50, 99)) * 1000
            count = len(durations)
            found[name].append([count / elapsed, used / count * 1e6, float(p50), float(p99)])
    return found


def _answers_equal(port: int) -> bool:
    """The same score and ages from both routes, ids aside."""
    answers = []
    for name in ("ours", "fastapi"):
        _, last = uvloop.run(_drive(port, PATHS[name], 0))
        answers.append(json.loads(last.split(b"\r\n\r\n", 1)[1]))
        answers[-1].pop("prediction_id")
    return bool(answers[0] == answers[1])


def _result(found: dict[str, list[list[float]]], equal: bool) -> dict[str, object]:
    units = {"requests_per_second": "1/s", "cpu_us_per_request": "us", "p50": "ms", "p99": "ms"}
    measures = {}
    for name, rounds in found.items():
        columns = list(zip(*rounds, strict=True))
        for (measure_name, unit), samples in zip(units.items(), columns, strict=True):
            value = float(np.median(samples))
            measures[f"{name}_{measure_name}"] = {
                "value": round(value, 3), "unit": unit, "samples": [round(s, 3) for s in samples]
            }  # fmt: skip
    ours = float(measures["ours_requests_per_second"]["value"])  # type: ignore[arg-type]
    peer = float(measures["fastapi_requests_per_second"]["value"])  # type: ignore[arg-type]
    packages = ("fastapi", "lightgbm", "msgspec", "numpy", "uvicorn", "uvloop")
    return {
        "benchmark": "score",
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "answers_equal": equal,
        "measures": measures,
        "ratios": {"fastapi": round(ours / peer, 2)},
        "skipped": {},
    }


def run(quick: bool) -> dict[str, object]:
    """Serve, compare the answers, then time the routes in turn."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        publish_release(make_plan(), Registry(Path(home), "bench"))
        here, there = context.Pipe()
        store = stack.enter_context(EmbeddedValkey(Path(home) / "valkey", forget=True))
        arguments = (Path(home), store.url, there)
        server = context.Process(target=run_server, args=arguments, daemon=True)
        server.start()
        try:
            port = here.recv()
            _wait_ready(port)
            equal = _answers_equal(port)
            seconds, rounds = (1.0, 1) if quick else (4.0, 5)
            found = measure(port, server.pid or 0, seconds, rounds)
        finally:
            server.terminate()
            server.join(30)
    if server.exitcode != 0:
        raise RuntimeError(f"the server ended with exit code {server.exitcode}")
    return _result(found, equal)
