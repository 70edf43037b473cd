"""The jobs route passes on what a scheduler told."""

from dataclasses import replace

import msgspec
import pytest

from tidemill.errors import StoreUnavailable
from tidemill.jobs import JobsReport, RunningJob

REPORT = JobsReport(
    7, running=[RunningJob(1, "payments: retrain", True, 0, "drift", 1, started_ms=5, place="here")]
)


def telling(world, answer):
    """Have the store answer this for jobs; an error is raised."""

    async def read_jobs():
        if isinstance(answer, Exception):
            raise answer
        return answer

    world.service.ports = replace(world.service.ports, read_jobs=read_jobs)


async def test_what_the_scheduler_told_is_passed_on(world, call):
    """As it is; the schema is in the OpenAPI document."""
    telling(world, msgspec.json.encode(REPORT))
    assert msgspec.to_builtins(REPORT) == (await call("GET", "/v1/jobs")).json
    assert "JobsReport" in (await call("GET", "/openapi.json")).json["components"]["schemas"]


@pytest.mark.parametrize("found", [None, b"{", b'{"running": 1}'])
async def test_without_a_scheduler_there_are_no_jobs(world, call, found):
    """Nor where one of another version told of them."""
    telling(world, found)
    nothing = {"seen_ms": None, "waiting": [], "running": [], "ended": []}
    assert nothing == (await call("GET", "/v1/jobs")).json


async def test_a_store_that_is_away_is_a_503(world, call):
    """Jobs are not guessed."""
    telling(world, StoreUnavailable("connection refused"))
    assert 503 == (await call("GET", "/v1/jobs")).status
