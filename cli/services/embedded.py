"""The broker and the store a laptop needs, started together and ended together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.services.foreground import hold, stop_signals
from cli.services.server import LocalServer
from cli.services.tansu import EmbeddedBroker
from cli.services.valkey import EmbeddedValkey
from features.archive.files import continues_a_log
from tidemill.errors import ServiceError


@dataclass(frozen=True)
class Endpoints:
    """Where the services answer: kafka as `host:port`, redis as `redis://host:port/db`."""

    kafka: str
    redis: str


@dataclass(frozen=True)
class Ports:
    """Loopback ports to use; None takes a free one."""

    kafka: int | None = None
    redis: int | None = None


_ANY_PORTS = Ports()


@contextmanager
def embedded_services(
    home: Path, *, kafka: str | None = None, redis: str | None = None, ports: Ports = _ANY_PORTS
) -> Iterator[Endpoints]:
    """Start what is not given (`kafka`, `redis`: external ones), data under `home`.

    The embedded broker forgets its log when it stops, so the store beside it starts empty each
    time: its fences would take the new offsets for applied ones and drop good events. With an
    external broker the embedded store keeps its data. The opposite mix is refused, and so is an
    embedded broker beside an archive and releases whose offsets belong to a log that is gone.

    Raises LockedError when another process uses the data, ServiceError when one cannot run.
    """
    with ExitStack() as stack:
        endpoints, _ = _start(stack, home, Endpoints(kafka or "", redis or ""), ports)
        yield endpoints


def run_services(
    home: Path,
    announce: Callable[[Endpoints], None],
    *,
    kafka: str | None = None,
    redis: str | None = None,
    ports: Ports = _ANY_PORTS,
) -> None:
    """Run the services until SIGINT, SIGTERM or SIGHUP, then stop them in order.

    `announce` gets the endpoints once all answer. Raises as embedded_services does, and
    ServiceError when a server ends by itself.
    """
    with stop_signals(), ExitStack() as stack:
        endpoints, servers = _start(stack, home, Endpoints(kafka or "", redis or ""), ports)
        announce(endpoints)
        hold(servers)


def _start(
    stack: ExitStack, home: Path, external: Endpoints, ports: Ports
) -> tuple[Endpoints, list[LocalServer]]:
    servers: list[LocalServer] = []
    kafka, redis = external.kafka, external.redis
    if redis and not kafka:
        raise ServiceError(
            "TIDEMILL_REDIS is set and TIDEMILL_KAFKA is not: the embedded broker forgets its log "
            "at every start while that store remembers what it applied, so events would be lost; "
            "set both or neither (`tidemill kafka --home DIR` runs a broker that keeps its log)"
        )
    if not kafka and continues_a_log(home):
        raise ServiceError(
            f"{home / 'archive'}: found records of an earlier log, which an embedded broker "
            "forgets when it stops; allowed: none, as new ones would be taken for those. Set "
            "TIDEMILL_HOME to a new directory (`tidemill kafka --home DIR` keeps its log)"
        )
    if not redis:
        place = home / "valkey" if kafka else home / "embedded" / "valkey"
        store = stack.enter_context(EmbeddedValkey(place, ports.redis, forget=not kafka))
        servers.append(store)
        redis = store.url
    if not kafka:
        broker = stack.enter_context(EmbeddedBroker(home / "embedded" / "broker", ports.kafka))
        servers.append(broker)
        kafka = broker.address
    return Endpoints(kafka, redis), servers
