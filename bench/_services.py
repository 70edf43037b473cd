"""The services that `bench score` loads: how each is started, asked, and read."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench._cores import Cores, end_all, family, on
from bench._load import http_request
from bench._peers import ROOT, Peer, PeerFailed
from bench._score_world import TIME_MS, World
from bench.peers.serving import Serve
from cli.services.ports import free_port
from cli.services.process import Launch, ServerProcess
from tidemill.errors import ServiceError

START_SECONDS, STOP_SECONDS = 90.0, 15.0
Json = dict[str, Any]


def _plain(card: str, shop: str) -> Json:
    return {"card": card, "shop": shop}


def _with_time(card: str, shop: str) -> Json:
    return {"card": card, "shop": shop, "time": TIME_MS}


def _inference(card: str, shop: str) -> Json:
    """A request of the Open Inference Protocol."""
    values = {"card": card, "shop": shop}
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}
        for name, value in values.items()
    ]
    return {"inputs": inputs}


def _score(answer: Json) -> float:
    return float(answer["score"])


def _no_score(answer: Json) -> float:
    return float("nan")


def _inferred(answer: Json) -> float:
    return float(answer["outputs"][0]["data"][0])


@dataclass(frozen=True)
class Service:
    """How a service is asked and its score read; `peer` is None for ours.

    `environment` is what a framework's documentation says it should be told for throughput.
    """

    name: str
    path: str = "/score"
    body: Callable[[str, str], Json] = _plain
    score: Callable[[Json], float] = _score
    peer: Peer | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def request(self, pair: tuple[str, str], key: str | None = None) -> bytes:
        """The request for a card and a shop as it is sent; `key` is that of our api."""
        headers = [("authorization", f"Bearer {key}")] if key and self.peer is None else []
        return http_request(self.path, json.dumps(self.body(*pair)).encode(), headers)


def _own(name: str, module: str, package: str, extra: str = "", **how: Any) -> Service:
    return Service(name, peer=Peer(module, package, own=True, extra=extra), **how)


OURS = Service("ours", "/v1/score", _with_time)
ECHO = Service(
    "fastapi_echo", "/echo", score=_no_score, peer=Peer("serve_fastapi_echo", "fastapi", own=False)
)
PEERS = (
    Service("fastapi_redis", peer=Peer("serve_fastapi_redis", "fastapi", own=False)),
    _own("fastapi_feast", "serve_fastapi_feast", "feast"),
    _own("litserve", "serve_litserve", "litserve", "litserve", path="/predict"),
    _own("bentoml", "serve_bentoml", "bentoml", "bentoml"),
    _own(
        "ray_serve", "serve_ray", "ray", "ray",
        environment={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
    ),
    _own(
        "mlserver", "serve_mlserver", "mlserver", "mlserver", path="/v2/models/scores/infer",
        body=_inference, score=_inferred,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A service that answers: its port and process."""

    service: Service
    port: int
    pid: int


@contextmanager
def running(service: Service, world: World, cores: Cores) -> Iterator[Running]:
    """Start a service on its core and end it with everything it started. Raises PeerFailed."""
    if service.peer is not None and service.peer.missing:
        raise PeerFailed(service.peer.missing)
    members: dict[int, str] = {}  # of those as well that outlive a start that failed

    def ready() -> bool:
        members.update(family(process.pid))
        return _answers(service, port, world)

    launch, port = _launch(service, world, ready)
    process = ServerProcess(launch)
    try:
        with on(cores.service):
            process.start()
    except ServiceError as error:
        end_all(members)
        if service.peer is None:
            raise
        raise PeerFailed(_shortened(str(error))) from None
    try:
        yield Running(service, port, process.pid)
    finally:
        members.update(family(process.pid))
        process.stop()
        end_all(members)


def _launch(service: Service, world: World, ready: Callable[[], bool]) -> tuple[Launch, int]:
    port = free_port()
    folder = world.folder / service.name
    folder.mkdir(exist_ok=True)
    # The same for all: what is not told otherwise would start a thread for each core it sees.
    told = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")} | told
    environment |= service.environment
    command: tuple[str, ...]
    if service.peer is None:
        command = (sys.executable, "-m", "tidemill", "api", str(world.file), "--port", str(port))
        environment |= world.settings
    else:
        task = Serve(port, world.redis_address, str(world.model), str(world.values), str(folder))
        python, module = str(service.peer.python), f"bench.peers.{service.peer.module}"
        command = (python, "-m", module, task.argument())
    launch = Launch(
        name=service.name, arguments=command, directory=folder, log_file=folder / "log",
        environment=environment, ready=ready,
        start_seconds=START_SECONDS, stop_seconds=STOP_SECONDS,
    )  # fmt: skip
    return launch, port


def _answers(service: Service, port: int, world: World) -> bool:
    """True when it answers with a score, and ours with one of its model."""
    request = service.request(world.pairs[0], world.key)
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", service.path, body, dict(lines))
        answer = connection.getresponse()
        found: Mapping[str, Any] = json.loads(answer.read())
        return answer.status == 200 and not found.get("degraded")
    except (http.client.HTTPException, ValueError, AttributeError):
        return False
    finally:
        connection.close()


def _shortened(text: str) -> str:
    """The first and the last line: what, and why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"
