"""The embedded broker: real processes, real records."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cli.services.tansu import EmbeddedBroker
from tidemill.errors import LockedError, ServiceError


async def round_trip(address: str) -> bytes:
    """Create a topic, send one record and read it back."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    producer = AIOKafkaProducer(bootstrap_servers=address)
    consumer = AIOKafkaConsumer(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("trips", num_partitions=2, replication_factor=1)])
    await producer.start()
    await consumer.start()
    try:
        sent = await producer.send_and_wait("trips", b"there and back", partition=1)
        place = TopicPartition("trips", 1)
        consumer.assign([place])
        consumer.seek(place, sent.offset)
        return bytes((await consumer.getone()).value)
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.close()


async def test_a_record_goes_there_and_back(tmp_path: Path) -> None:
    """A topic can be created, and a record sent to it is read back."""
    with EmbeddedBroker(tmp_path) as broker:
        assert b"there and back" == await round_trip(broker.address)


def test_nothing_is_written_to_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's binary is used where it is: the home directory stays empty."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with EmbeddedBroker(tmp_path / "data"):
        assert [] == list(home.iterdir())


def test_options_in_the_environment_do_not_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that Tansu would take for an option leaves the broker as it is."""
    monkeypatch.setenv("SCHEMA_REGISTRY", "nonsense://")
    monkeypatch.setenv("STORAGE_ENGINE", "nonsense://")
    with EmbeddedBroker(tmp_path) as broker:
        broker.require_running()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A requested port that is taken gives an error with the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServiceError, match=f"embedded broker .*:{port}: another program"):
            EmbeddedBroker(tmp_path, port).start()


def test_one_data_directory_serves_one_broker(tmp_path: Path) -> None:
    """A second broker on the same directory is refused while the first runs."""
    with EmbeddedBroker(tmp_path), pytest.raises(LockedError, match="is in use"):
        EmbeddedBroker(tmp_path).start()
