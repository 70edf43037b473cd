"""Both services together, also when their parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from redis import Redis

from cli.services.embedded import Endpoints, Ports, embedded_services
from cli.services.ports import free_port
from features.archive.files import ARCHIVE_SCHEMAS, ArchiveWriter
from tidemill.errors import LockedError, ServiceError
from tidemill.topics import EVENTS

PARENT = """
import sys
from pathlib import Path
from cli.services.embedded import run_services
run_services(Path(sys.argv[1]), lambda it: print(it.kafka, it.redis, flush=True))
"""


def children(pid: int) -> list[int]:
    """The process ids of the children of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def start_parent(home: Path) -> tuple[subprocess.Popen[str], Endpoints, list[int]]:
    """Run the services in a process of their own: that process, endpoints, their two pids."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(home)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    kafka, redis = parent.stdout.readline().split()
    return parent, Endpoints(kafka, redis), children(parent.pid)


async def test_both_services_answer(tmp_path: Path) -> None:
    """The endpoints take a command and a record."""
    with embedded_services(tmp_path) as endpoints:
        with Redis.from_url(endpoints.redis) as client:
            assert client.ping()
        producer = AIOKafkaProducer(bootstrap_servers=endpoints.kafka)
        await producer.start()
        assert 0 == (await producer.send_and_wait("events", b"one", partition=0)).offset
        await producer.stop()


def test_the_store_starts_empty_beside_a_broker_that_forgets(tmp_path: Path) -> None:
    """What was applied from a log that is gone must not hide the events of the next one."""
    with embedded_services(tmp_path) as endpoints, Redis.from_url(endpoints.redis) as client:
        client.set("fence", "5000")
    with embedded_services(tmp_path) as endpoints, Redis.from_url(endpoints.redis) as client:
        assert client.get("fence") is None


def test_the_store_is_kept_beside_a_broker_that_remembers(tmp_path: Path) -> None:
    """With a broker from outside the embedded store keeps its data, also from the other mode."""
    outside = "127.0.0.1:9092"
    with embedded_services(tmp_path, kafka=outside) as endpoints:
        assert outside == endpoints.kafka
        with Redis.from_url(endpoints.redis) as client:
            client.set("fence", "5000")
    with embedded_services(tmp_path):
        pass
    with embedded_services(tmp_path, kafka=outside) as endpoints:
        with Redis.from_url(endpoints.redis) as client:
            assert b"5000" == client.get("fence")


def test_a_store_that_remembers_is_refused_beside_a_broker_that_forgets(tmp_path: Path) -> None:
    """An outside store with an embedded broker would lose events and is refused."""
    with (
        pytest.raises(ServiceError, match="TIDEMILL_REDIS is set and TIDEMILL_KAFKA is not"),
        embedded_services(tmp_path, redis="redis://127.0.0.1:6379/0"),
    ):
        pytest.fail("it started")


def test_an_archive_of_a_forgotten_log_is_refused(tmp_path: Path) -> None:
    """What was archived from a log that is gone must not hide the records of the next one."""
    ArchiveWriter(tmp_path, "p", EVENTS, 0).write(ARCHIVE_SCHEMAS[EVENTS].empty_table(), 7)
    with pytest.raises(ServiceError, match="TIDEMILL_HOME"), embedded_services(tmp_path):
        pytest.fail("it started")
    with embedded_services(tmp_path, kafka="127.0.0.1:9092") as endpoints:
        assert "127.0.0.1:9092" == endpoints.kafka


def test_requested_ports_are_used(tmp_path: Path) -> None:
    """Ports asked for are the ports of the endpoints."""
    ports = Ports(kafka=free_port(), redis=free_port())
    with embedded_services(tmp_path, ports=ports) as endpoints:
        assert f"127.0.0.1:{ports.kafka}" == endpoints.kafka
        assert f"redis://127.0.0.1:{ports.redis}/0" == endpoints.redis


@pytest.mark.skipif(sys.platform != "linux", reason="binding to the parent is Linux's")
def test_services_die_with_a_parent_killed_by_kill_9(
    tmp_path: Path, left_over: Callable[[list[int]], list[int]]
) -> None:
    """No server is left after the parent was killed, and its data can be used again at once."""
    parent, _, pids = start_parent(tmp_path)
    with parent:
        assert 2 == len(pids)
        with pytest.raises(LockedError), embedded_services(tmp_path):
            pytest.fail("the directory was not claimed")
        parent.send_signal(signal.SIGKILL)
    assert [] == left_over(pids)
    with embedded_services(tmp_path):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="lists the children by /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_services_end_in_order_with_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """The command ends with 0 and both servers are gone."""
    parent, _, pids = start_parent(tmp_path)
    with parent:
        parent.send_signal(number)
        assert 0 == parent.wait(20)
    assert [] == [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.skipif(sys.platform != "linux", reason="lists the children by /proc")
def test_a_service_that_dies_ends_the_command(
    tmp_path: Path, left_over: Callable[[list[int]], list[int]]
) -> None:
    """When one server is killed the command says so, ends with an error and stops the other."""
    parent, _, pids = start_parent(tmp_path)
    with parent:
        os.kill(pids[0], signal.SIGKILL)
        assert 1 == parent.wait(20)
    assert [] == left_over(pids)
