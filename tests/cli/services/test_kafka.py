"""A local Apache Kafka: what must be right before it starts, and the real broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from cli.services.kafka import LocalKafka, _new_cluster, java_version, require_formatted
from tidemill.errors import LockedError, ServiceError


@pytest.fixture
def empty_home(tmp_path: Path) -> Path:
    """A folder with the scripts of a distribution that does nothing but fail."""
    scripts = tmp_path / "kafka" / "bin"
    scripts.mkdir(parents=True)
    for name in ("kafka-server-start.sh", "kafka-storage.sh"):
        (scripts / name).write_text("#!/bin/sh\necho this is no Kafka\nexit 4\n")
        (scripts / name).chmod(0o755)
    return tmp_path / "kafka"


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `java` that says it is version 21, alone on the search path with the shell."""
    return fake_java(tmp_path, monkeypatch, "21.0.2")


def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Path:
    """Put a `java` that claims `version` first on the search path."""
    folder = tmp_path / "java"
    folder.mkdir()
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return program


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_292"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21-ea" 2023', 21),
        ("command not found", None),
    ],
)
def test_the_version_of_java_is_read(text: str, expected: int | None) -> None:
    """Old and new ways of writing the version give its major number."""
    assert expected == java_version(text)


def test_a_folder_without_kafka_is_named(tmp_path: Path) -> None:
    """A home without Kafka's scripts is refused, and no data directory is made."""
    with pytest.raises(ServiceError, match=f"found {tmp_path} without bin/kafka-server-start.sh"):
        LocalKafka(tmp_path, tmp_path / "data").start()
    assert not (tmp_path / "data").exists()


def test_a_missing_java_is_named(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Java the error says which version is needed and how to get it."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="java: found none by PATH; Kafka needs Java 17"):
        LocalKafka(empty_home, tmp_path / "data").start()


def test_a_wrong_java_home_is_named(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAVA_HOME decides as it does for Kafka's own scripts, and is named when it is wrong."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServiceError, match=f"java: found none by JAVA_HOME={tmp_path}"):
        LocalKafka(empty_home, tmp_path / "data").start()


def test_an_old_java_is_named(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Java too old for Kafka is refused with its version and place."""
    program = fake_java(tmp_path, monkeypatch, "11.0.22")
    with pytest.raises(ServiceError, match=f"found Java 11 at {program}; Kafka needs Java 17"):
        LocalKafka(empty_home, tmp_path / "data").start()


@pytest.mark.usefixtures("java")
def test_a_failed_format_is_reported_and_leaves_no_log(tmp_path: Path, empty_home: Path) -> None:
    """A distribution that cannot format says so in its own words and leaves nothing half made."""
    with pytest.raises(ServiceError, match=r"(?s)Formatting .*exit code 4.*  this is no Kafka"):
        LocalKafka(empty_home, tmp_path / "data").start()
    assert not (tmp_path / "data" / "log").exists()


@pytest.mark.usefixtures("java")
def test_a_log_made_by_something_else_is_refused(tmp_path: Path, empty_home: Path) -> None:
    """A data directory with a log that we did not format is left alone."""
    (tmp_path / "data" / "log").mkdir(parents=True)
    with pytest.raises(ServiceError, match="log without cluster.id beside it; allowed: an empty"):
        LocalKafka(empty_home, tmp_path / "data").start()


def test_the_log_of_another_cluster_is_refused(tmp_path: Path) -> None:
    """The message names the key, the cluster found and the one allowed."""
    (tmp_path / "meta.properties").write_text("version=1\nnode.id=1\ncluster.id=theirs\n")
    with pytest.raises(ServiceError, match="cluster.id: found theirs; allowed: ours"):
        require_formatted(tmp_path, "ours")


@pytest.mark.parametrize("text", [None, "", "cluster.id=ours\n", "cluster.id=ours\nnode.id=2\n"])
def test_an_incomplete_log_is_refused(tmp_path: Path, text: str | None) -> None:
    """A log without its properties, or with other ones, is not started on."""
    if text is not None:
        (tmp_path / "meta.properties").write_text(text)
    with pytest.raises(ServiceError, match="meta.properties"):
        require_formatted(tmp_path, "ours")


async def send(address: str, value: bytes) -> int:
    """Send one record and give its offset."""
    producer = AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True)
    await producer.start()
    try:
        sent = await producer.send_and_wait("kept", value, partition=0)
        return int(sent.offset)
    finally:
        await producer.stop()


async def read(address: str, count: int) -> list[bytes | None]:
    """Read the first `count` records."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address)
    await consumer.start()
    place = TopicPartition("kept", 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_kafka_keeps_its_records_between_runs(tmp_path: Path, kafka_home: Path) -> None:
    """Records survive an orderly stop and another port; a used directory or port is refused.

    The folder's name has a blank and letters beyond Latin-1, which Kafka's properties do not.
    """
    data = tmp_path / "data, état 数"
    with LocalKafka(kafka_home, data) as kafka:
        assert 0 == await send(kafka.address, b"first")
        with pytest.raises(LockedError, match="is in use"):
            LocalKafka(kafka_home, data).start()
        with pytest.raises(ServiceError, match=f":{kafka.port}: another program"):
            LocalKafka(kafka_home, tmp_path / "other", kafka.port).start()
    with LocalKafka(kafka_home, data) as kafka:
        assert 1 == await send(kafka.address, b"second")
        assert [b"first", b"second"] == await read(kafka.address, 2)


FOREGROUND = """
import sys
from pathlib import Path
from cli.services.kafka import LocalKafka
kafka = LocalKafka(Path(sys.argv[1]), Path(sys.argv[2]))
kafka.run_foreground(lambda address: print(address, kafka.pid, flush=True))
"""


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_kafka_in_the_foreground_ends_with_its_command(
    tmp_path: Path,
    kafka_home: Path,
    left_over: Callable[[list[int]], list[int]],
    number: signal.Signals,
    code: int,
) -> None:
    """SIGTERM to the command stops Kafka in order; a killed command leaves no Kafka behind."""
    command = [sys.executable, "-c", FOREGROUND, str(kafka_home), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        address, pid = child.stdout.readline().split()
        host, port = address.split(":")
        socket.create_connection((host, int(port)), 5).close()
        child.send_signal(number)
        assert code == child.wait(60)
    assert [] == left_over([int(pid)])


def test_a_cluster_is_never_named_like_an_option() -> None:
    """One random id in 64 would begin with a dash, and Kafka's command would not start."""
    assert not any(_new_cluster().startswith("-") for _ in range(2_000))
