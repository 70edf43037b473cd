"""The status JSON the console reads: model, the api's own numbers, the worker's passed through."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from api.adopting.model import ServedModel
from api.measuring.measurements import Measurements
from api.ports import PlanPorts, Ports
from features.plan import FeaturePlan
from tidemill.errors import StoreUnavailable, TidemillError
from tidemill.jobs import JobsReport

WORKER_DEADLINE_SECONDS = 1.0
SCORING_ROUTES = ("score", "score_batch")
_UNKNOWN_WORKER: dict[str, Any] = {"alive": False, "seen_ms": None, "series": [], "counts": {}}
_LOG = structlog.get_logger()


async def worker_status(ports: PlanPorts) -> tuple[dict[str, Any], list[Any]]:
    """The worker's status and the newest bad cases; unknown when the store does not answer."""
    try:
        async with asyncio.timeout(WORKER_DEADLINE_SECONDS):
            worker, bad_cases = await ports.read_worker_status()
            return _UNKNOWN_WORKER | worker, bad_cases
    except (TidemillError, TimeoutError) as error:
        _LOG.warning("worker_status_unavailable", error=str(error) or type(error).__name__)
        return dict(_UNKNOWN_WORKER), []


async def worker_quality(ports: PlanPorts) -> dict[str, Any] | None:
    """The running quality (see `tidemill.quality`), None before a worker has told of any.

    Raises StoreUnavailable.
    """
    try:
        async with asyncio.timeout(WORKER_DEADLINE_SECONDS):
            worker, _ = await ports.read_worker_status()
    except TimeoutError:
        raise StoreUnavailable(f"no answer within {WORKER_DEADLINE_SECONDS:g} s") from None
    found: dict[str, Any] | None = worker.get("quality")
    return found


async def scheduled_jobs(ports: Ports) -> JobsReport:
    """What a scheduler told last; nothing where none ever did, or one of another version.

    Raises StoreUnavailable.
    """
    try:
        async with asyncio.timeout(WORKER_DEADLINE_SECONDS):
            found = await ports.read_jobs()
    except TimeoutError:
        raise StoreUnavailable(f"no answer within {WORKER_DEADLINE_SECONDS:g} s") from None
    try:
        return JobsReport() if found is None else msgspec.json.decode(found, type=JobsReport)
    except msgspec.DecodeError as error:
        _LOG.warning("jobs_not_read", error=str(error))
        return JobsReport()


def features_status(plan: FeaturePlan, waiting: str) -> dict[str, Any]:
    """The declaration being served; `waiting` says why a newer release's is not, empty if none."""
    return {
        "schema": plan.schema.hash,
        "state": plan.state,
        "count": len(plan.schema.names),
        "waiting": waiting,
    }


def model_status(model: ServedModel, measurements: Measurements) -> dict[str, Any]:
    """The model being served, the changes of its release and what was refused, oldest first."""
    return {
        "release": model.release,
        "snapshot": model.snapshot,
        "examples": model.examples,
        "adopted_ms": model.adopted_ms,
        "swaps": list(measurements.release_changes),
        "refused": list(measurements.refused_swaps),
    }


def api_status(measurements: Measurements, queue_depth: int) -> dict[str, Any]:
    """Counts since the start, percentiles over the newest requests, and a point per second."""
    requests, failed = measurements.totals(SCORING_ROUTES)
    return {
        "requests_total": requests,
        "failed_total": failed,
        "latency_ms": measurements.request_seconds[SCORING_ROUTES[0]].percentiles_ms(),
        "label_to_weights_ms": measurements.label_to_weights.percentiles_ms(),
        "queue_depth": queue_depth,
        "series": list(measurements.series),
    }


def encode_status(parts: dict[str, Any]) -> bytes:
    """The whole status as JSON."""
    return msgspec.json.encode(parts)
