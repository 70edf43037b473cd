"""A worker and an api behind TLS, logins and keys do their work, and none of their logs tells."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Service, until

from cli.services.valkey import EmbeddedValkey
from features.redis.client import redis_client
from tidemill.api_keys import KeyFile, KeyRequest
from tidemill.audit import AuditLog
from tidemill.clock import SystemClock

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "contracts"))  # the test tree has no packages

from secure_kafka import PASSWORD, USER, SecureKafka  # noqa: E402 - only found after the line above

pytestmark = pytest.mark.kafka
STORE_PASSWORD, WRONG_KEY = "store-secret-77b0", f"tm_{'0' * 12}_{'wrong-secret-' * 3}"
REQUEST = {"ticket": "t1", "pier": "a", "ferry": "f", "distance": 1.5}


@pytest.fixture
def secure_kafka(tmp_path: Path) -> Iterator[SecureKafka]:
    """A broker that wants TLS and a login."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        pytest.skip("KAFKA_HOME is not set")
    with SecureKafka(Path(home), tmp_path / "secure-kafka") as broker:
        broker.add_scram_user()
        yield broker


async def store_user(server: EmbeddedValkey) -> str:
    """The address of the store with the documented user, who is made for it."""
    text = (ROOT / "docs" / "security.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("ACL SETUSER "))
    words = line.replace("PASSWORD", STORE_PASSWORD).replace("PROJECT", "ferries").split()
    client = redis_client(server.url)
    await client.execute_command(*words)
    await client.aclose()
    return f"redis://{words[2]}:{STORE_PASSWORD}@{server.address}/0"


def secured(kafka: SecureKafka) -> dict[str, str]:
    """What the processes are told of the broker."""
    return {
        "TIDEMILL_KAFKA_TLS": "true",
        "TIDEMILL_KAFKA_CA": str(kafka.authority.ca),
        "TIDEMILL_KAFKA_SASL": "SCRAM-SHA-512",
        "TIDEMILL_KAFKA_USER": USER,
        "TIDEMILL_KAFKA_PASSWORD": PASSWORD,
        "TIDEMILL_SESSION_TIMEOUT_MS": "6000",
    }


async def test_a_secured_service_works_and_tells_no_secret(
    make: Callable[..., Service],
    publish: Callable[[], str],
    secure_kafka: SecureKafka,
    valkey: EmbeddedValkey,
    tmp_path: Path,
) -> None:
    """Scores, labels and snapshots go their way; no error names a password or a key."""
    publish()
    request = KeyRequest("test", ["score", "label", "read"])
    _, key = KeyFile(tmp_path, "ferries").create(request, "test", SystemClock().now_ms())
    service = make(secure_kafka.secret, await store_user(valkey), **secured(secure_kafka))
    for command in service.commands:
        command.start()
    await service.ready()
    ask = service.client
    refused = [
        await ask.post("/v1/score", json=REQUEST, headers=headers)
        for headers in ({}, {"x-api-key": WRONG_KEY}, {"authorization": f"Bearer {WRONG_KEY}"})
    ]
    assert [401, 401, 401] == [reply.status_code for reply in refused]
    ask.headers["x-api-key"] = key

    async def learned() -> bool:
        """Another request is scored and labelled, until a snapshot of what was learned serves."""
        reply = await ask.post("/v1/score", json=REQUEST | {"ticket": os.urandom(8).hex()})
        answer = reply.json()
        label = {"key": answer["prediction_id"], "value": 1, "time": SystemClock().now_ms()}
        assert 202 == (await ask.post("/v1/labels", json=label)).status_code
        return bool(answer["model"]["snapshot"] > 0)

    await until("what was learned is served", learned)
    secure_kafka.stop()
    label = {"key": "x", "value": 1, "time": SystemClock().now_ms()}
    assert 503 == (await ask.post("/v1/labels", json=label)).status_code
    valkey.stop()
    degraded = await ask.post("/v1/score", json=REQUEST)
    assert ["features"] == degraded.json()["degraded"]
    service.worker.kill()  # with neither broker nor store it would take its time
    await service.api.stop()
    told = [path.read_text(errors="replace") for path in (tmp_path / "logs").iterdir()]
    told += [reply.text for reply in (*refused, degraded)]
    told.append(AuditLog(tmp_path, "ferries").path.read_text())
    told.append((tmp_path / "api-keys" / "ferries.json").read_text())
    secrets = (PASSWORD, STORE_PASSWORD, WRONG_KEY, key, key.split("_", 2)[2], "wrong-secret")
    assert [] == [secret for secret in secrets for text in told if secret in text]
    assert min(len(text) for text in told[:2]) > 0
    actions = [entry.action for entry in AuditLog(tmp_path, "ferries").entries()]
    assert {"key_created", "role", "swap", "snapshots", "refused"} == set(actions)
