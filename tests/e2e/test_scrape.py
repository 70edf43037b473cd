"""What board and alert rules read is what a running api and worker export."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from processes import FAST_SESSION, ROOT, until
from prometheus_client.parser import text_string_to_metric_families

from cli.services.ports import free_port
from tidemill.metrics import NAMES

READ_BY = sorted(file for file in (ROOT / "deploy").rglob("*") if file.suffix in (".json", ".yml"))
EARLY = {
    # Written once there is something to say of: a drift, a slice, a skew meter, numbers as labels.
    "tidemill_slice_log_loss", "tidemill_rmse", "tidemill_mae", "tidemill_drift_alerts_total",
}  # fmt: skip


def named(file: Path) -> set[str]:
    """The metrics that a file reads, by their declared names."""
    found = set()
    for name in re.findall(r"\btidemill_[a-z_]+", file.read_text()):
        found.add(
            next((n for n in (name, re.sub(r"_(bucket|sum|count)$", "", name)) if n in NAMES), name)
        )
    return found


async def test_every_metric_that_is_read_is_exported(embedded, make, publish, meet):
    """By its kind, and with a value once events, scores and labels flow."""
    publish()
    service = make(embedded.kafka, embedded.redis, **FAST_SESSION)
    port = free_port()
    worker = service.worker
    worker._arguments = (*worker._arguments, "--metrics-port", str(port))
    for command in service.commands:
        command.start()
    await service.ready()
    ledger, client = await meet(service)
    await client.some_events(120)
    await ledger.drained(client.sent)
    for _ in range(20):
        answer = await client.score()
        await client.label(answer["request"]["ticket"], 0)
    api = str(service.client.base_url).rstrip("/")
    wanted = set().union(*map(named, READ_BY))

    async def exported() -> tuple[dict[str, str], set[str]]:
        kinds: dict[str, str] = {}
        values: set[str] = set()
        async with httpx.AsyncClient() as asking:
            for address in (f"{api}/metrics", f"http://127.0.0.1:{port}/metrics"):
                text = (await asking.get(address)).text
                for family in text_string_to_metric_families(text):
                    name = family.name + ("_total" if family.type == "counter" else "")
                    kinds[name] = family.type
                    values |= {name} if family.samples else set()
        return kinds, values

    kinds, _ = await exported()
    assert {name: NAMES[name].kind for name in wanted} == {
        name: kinds.get(name, "nothing") for name in wanted
    }
    assert set() == kinds.keys() - NAMES.keys()
    sure = {name for name in wanted - EARLY if not NAMES[name].labels} | {
        "tidemill_requests_total", "tidemill_request_seconds", "tidemill_stage_seconds",
        "tidemill_model_info", "tidemill_feature_age_seconds", "tidemill_unknown_entities_total",
        "tidemill_arm_answers_total", "tidemill_arm_seconds", "tidemill_consumer_lag_records",
        "tidemill_batch_seconds", "tidemill_swaps_total",
    }  # fmt: skip

    async def missing() -> set[str]:
        return sure - (await exported())[1]

    await until("all have values", missing, good=lambda found: not found)
    assert [0, 0] == await service.stop()
