"""The metrics page: declared names only, and numbers that add up."""

from prometheus_client.parser import text_string_to_metric_families

from api.measuring.measurements import DROPS, STAGES
from tidemill.metrics import NAMES

SCORE = "/v1/score"


async def scrape(call) -> dict[tuple[str, frozenset], float]:
    """Every sample of the page by name and labels."""
    reply = await call("GET", "/metrics")
    assert 200 == reply.status
    families = text_string_to_metric_families(reply.body.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def labels(**values: str) -> frozenset:
    """Labels as `scrape` gives them."""
    return frozenset(values.items())


async def test_only_declared_names_are_exported(served, call, request_body):
    """Each family is in the closed list, with its labels."""
    await call.post(SCORE, request_body)
    for name, found in await scrape(call):
        base = name
        for suffix in ("_bucket", "_count", "_sum"):
            base = base.removesuffix(suffix)
        assert base in NAMES
        assert {label for label, _ in found} - {"le"} == set(NAMES[base].labels)


async def test_requests_are_counted_by_route_and_status(served, call, request_body):
    """Answers and refusals of each route."""
    await call.post(SCORE, request_body)
    await call.post(SCORE, request_body)
    await call("POST", SCORE, b"{")
    await call.post("/v1/score:batch", {"requests": [request_body] * 5})
    found = await scrape(call)
    name = "tidemill_requests_total"
    assert 2 == found[name, labels(route="score", status="200")]
    assert 1 == found[name, labels(route="score", status="400")]
    assert 1 == found[name, labels(route="score_batch", status="200")]
    assert 7 == found["tidemill_predictions_total", labels()]
    assert 7 == found["tidemill_prediction_queue_depth", labels()]


async def test_durations_are_histograms(served, call, request_body):
    """Every request is in exactly one bucket, its stages are timed once per group."""
    for _ in range(3):
        await call.post(SCORE, request_body)
    found = await scrape(call)
    name = "tidemill_request_seconds"
    assert 3 == found[f"{name}_bucket", labels(route="score", le="+Inf")]
    assert 3 == found[f"{name}_count", labels(route="score")]
    assert found[f"{name}_sum", labels(route="score")] > 0
    assert 3 == found["tidemill_stage_seconds_count", labels(stage="model")]
    assert 3 == found["tidemill_stage_seconds_count", labels(stage="features")]


async def test_the_served_model_is_named(served, call):
    """Release, schema and role are labels; the snapshot, which changes often, is a number."""
    served.write_snapshot(7)
    await served.service.adoption.adopt_newest()
    found = await scrape(call)
    schema = served.plan.schema.hash
    info = labels(release="r0001", schema=schema, role="champion")
    assert 1 == found["tidemill_model_info", info]
    mine = labels(release="r0001", role="champion")
    assert 7 == found["tidemill_model_snapshot", mine]
    adopted = found["tidemill_model_adopted_timestamp_seconds", mine]
    assert served.clock.now_ms() / 1000 == adopted
    assert 1 == found["tidemill_swaps_total", labels(kind="snapshot")]
    assert 1 == found["tidemill_swaps_total", labels(kind="release")]
    assert 0 == found["tidemill_swaps_refused_total", labels()]


async def test_a_group_is_counted_once(served, call, request_body):
    """Requests scored together are one group of so many rows, and their ages are noted with it."""
    await call.post("/v1/score:batch", {"requests": [request_body] * 5})
    await call.post(SCORE, request_body)
    found = await scrape(call)
    assert 1 == found["tidemill_group_rows_bucket", labels(le="1.0")]
    assert 2 == found["tidemill_group_rows_bucket", labels(le="8.0")]
    assert (2, 6) == (found["tidemill_group_rows_count", labels()],
                      found["tidemill_group_rows_sum", labels()])  # fmt: skip
    assert 6 == found["tidemill_unknown_entities_total", labels(group="card")]
    assert 0 == found["tidemill_feature_age_seconds_count", labels(group="card")]


async def test_every_stage_of_an_answer_is_timed(served, call, request_body):
    """Decoding and encoding too; what happens behind the answer has its series from the start."""
    await call.post(SCORE, request_body)
    found = await scrape(call)
    counts = {stage: found["tidemill_stage_seconds_count", labels(stage=stage)] for stage in STAGES}
    assert {"decode": 1, "features": 1, "model": 1, "encode": 1, "log": 0, "shadow": 0} == counts


async def test_queues_are_told_with_their_limit(served, call, request_body):
    """How full the queue is can be said without knowing the settings."""
    await call.post(SCORE, request_body)
    found = await scrape(call)
    assert 1 == found["tidemill_prediction_queue_depth", labels()]
    assert 500 == found["tidemill_prediction_queue_limit", labels()]
    assert 0 == found["tidemill_scoring_queue_depth", labels()]
    assert {0} == {found["tidemill_dropped_total", labels(what=what)] for what in DROPS}


async def test_refusals_are_counted_by_cause(served, call, request_body):
    """A body that is no JSON, and a queue that is full."""
    await call("POST", SCORE, b"{")
    served.service.log.reserve(served.service.settings.prediction_queue)
    await call.post(SCORE, request_body)
    found = await scrape(call)
    assert 1 == found["tidemill_refusals_total", labels(cause="malformed")]
    assert 1 == found["tidemill_refusals_total", labels(cause="queue_full")]


async def test_the_process_tells_of_itself(served, call):
    """Memory, processor time and when it began, for what restarts and what grows."""
    found = await scrape(call)
    assert found["tidemill_process_resident_memory_bytes", labels()] > 1_000_000
    assert found["tidemill_process_start_time_seconds", labels()] > 1_600_000_000
