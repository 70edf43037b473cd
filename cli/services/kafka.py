"""A local Apache Kafka from an unpacked distribution: one KRaft node that keeps its data."""

from __future__ import annotations

import base64
import functools
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from cli.services.directory import DirectoryClaim
from cli.services.foreground import hold, stop_signals
from cli.services.ports import LOOPBACK, free_port
from cli.services.probe import answers_metadata
from cli.services.process import Launch, run_to_end
from cli.services.server import LocalServer
from tidemill.errors import ServiceError

OLDEST_JAVA = 17
_SCRIPTS = ("kafka-server-start.sh", "kafka-storage.sh")
_NODE_ID = "1"
# Paths are relative to the data directory, where Kafka runs: a properties file is Latin-1 and
# gives commas and backslashes a meaning, so a user's path may not be expressible in it.
_LOG, _NEW_LOG = "log", "log.new"
_PROPERTIES = """\
# Written by `tidemill kafka` at every start; changes are lost.
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log}
num.partitions=4
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A broker killed with -9 may register again only after its old session ends: 3 s, not 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class LocalKafka(LocalServer):
    """One node of the Apache Kafka (3.3 or newer) unpacked in `home`, on loopback.

    The data directory is formatted on first use and belongs to that cluster from then on; the
    port may change between runs. Ready after about four seconds.
    """

    name: ClassVar[str] = "Kafka"

    def __init__(self, home: Path, data_directory: Path, port: int | None = None) -> None:
        """`home`: the folder with Kafka's bin/ and libs/."""
        super().__init__(data_directory, port)
        self.home = home.absolute()
        self._environment: Mapping[str, str] = {}

    def run_foreground(self, announce: Callable[[str], None]) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP, then stop in order.

        `announce` gets the address once Kafka is ready. Raises as start() does, and
        ServiceError when Kafka ends by itself.
        """
        with stop_signals(), self:
            announce(self.address)
            hold([self])

    def _check(self) -> None:
        for script in _SCRIPTS:
            if not (self.home / "bin" / script).is_file():
                raise ServiceError(
                    f"Kafka home: found {self.home} without bin/{script}; "
                    f"allowed: the folder of an unpacked Apache Kafka 3.3 or newer"
                )
        self._environment = _environment(require_java())

    def _prepare(self, claim: DirectoryClaim) -> None:
        log = self.data_directory / _LOG
        try:
            marker = _cluster_marker(self.data_directory)
            if not log.exists():
                self._format(marker, claim)
        except OSError as error:
            raise ServiceError(f"data directory {error.filename}: {error.strerror}") from error
        require_formatted(log, marker)

    def _format(self, cluster: str, claim: DirectoryClaim) -> None:
        # Under another name first: a directory called `log` is always completely formatted.
        new = self.data_directory / _NEW_LOG
        if new.exists():
            shutil.rmtree(new)
        properties = self._write_properties(free_port(), _NEW_LOG)
        launch = Launch(
            name="Formatting Kafka's log",
            arguments=(
                str(self.home / "bin" / "kafka-storage.sh"),
                *("format", "--cluster-id", cluster, "--config", properties),
            ),
            directory=self.data_directory,
            log_file=self.data_directory / "format.log",
            environment=self._environment,
            start_seconds=60.0,
        )
        run_to_end(launch, (claim.descriptor,))
        new.rename(self.data_directory / _LOG)

    def _launch(self, port: int) -> Launch:
        properties = self._write_properties(port, _LOG)
        return Launch(
            name=self.name,
            arguments=(str(self.home / "bin" / "kafka-server-start.sh"), properties),
            directory=self.data_directory,
            log_file=self.data_directory / "kafka.log",
            environment=self._environment,
            ready=functools.partial(answers_metadata, port),
            start_seconds=90.0,
            stop_seconds=30.0,
        )

    def _write_properties(self, port: int, log: str) -> str:
        controller_port = free_port()
        while controller_port == port:
            controller_port = free_port()
        text = _PROPERTIES.format(
            node=_NODE_ID, host=LOOPBACK, port=port, controller_port=controller_port, log=log
        )
        (self.data_directory / "server.properties").write_text(text)
        return "server.properties"


def require_java() -> Path:
    """The `java` that Kafka's scripts will use; ServiceError when missing or too old."""
    home = os.environ.get("JAVA_HOME")
    found = Path(home, "bin", "java") if home else Path(shutil.which("java") or "java")
    where = f"JAVA_HOME={home}" if home else "PATH"
    need = f"Kafka needs Java {OLDEST_JAVA} or newer (Debian: apt-get install default-jre-headless)"
    try:
        asked = subprocess.run(
            [found, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except OSError as error:
        raise ServiceError(f"java: found none by {where}; {need}") from error
    except subprocess.SubprocessError as error:
        raise ServiceError(f"java: {found} -version failed ({error}); {need}") from error
    version = java_version(asked.stderr + asked.stdout)
    if version is None or version < OLDEST_JAVA:
        seen = "an unknown version" if version is None else f"Java {version}"
        raise ServiceError(f"java: found {seen} at {found}; {need}")
    return found


def java_version(text: str) -> int | None:
    """The major version in the answer of `java -version`, None when it names none."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    major, minor = int(match[1]), int(match[2] or 0)
    return minor if major == 1 else major  # Java 8 calls itself 1.8


def require_formatted(log: Path, cluster: str) -> None:
    """Raise ServiceError unless `log` is a whole log directory of our node of `cluster`."""
    try:
        text = (log / "meta.properties").read_text(encoding="latin-1")
    except OSError as error:
        raise ServiceError(
            f"data directory: {log / 'meta.properties'}: {error.strerror}; this is no complete "
            f"Kafka log: restore it, or remove {log} to start with an empty one"
        ) from error
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    for key, allowed in (("cluster.id", cluster), ("node.id", _NODE_ID)):
        if found.get(key, "").strip() != allowed:
            raise ServiceError(
                f"data directory: {log / 'meta.properties'}: {key}: found "
                f"{found.get(key, 'nothing')}; allowed: {allowed}. The log belongs to another "
                f"cluster: choose another data directory"
            )


def _cluster_marker(directory: Path) -> str:
    """The cluster id that this data directory was made for; chosen and kept on first use."""
    marker = directory / "cluster.id"
    if marker.exists():
        return marker.read_text().strip()
    if (directory / _LOG).exists():
        raise ServiceError(
            f"data directory: found {directory / _LOG} without {marker.name} beside it; allowed: "
            f"an empty directory or one made by `tidemill kafka`"
        )
    cluster = _new_cluster()
    partial = directory / "cluster.id.partial"
    partial.write_text(cluster + "\n")
    partial.replace(marker)
    return cluster


def _new_cluster() -> str:
    """A random id in Kafka's alphabet; one that began with - would be taken for an option."""
    while True:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster.startswith("-"):
            return cluster


def _environment(java: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment["PATH"] = f"{java.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    # Kafka's scripts write their own logs into the distribution unless told otherwise.
    environment["LOG_DIR"] = "server-logs"
    environment.setdefault("KAFKA_HEAP_OPTS", "-Xms256m -Xmx512m")
    return environment
