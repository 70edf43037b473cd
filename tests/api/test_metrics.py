"""The metrics page: declared names only, and numbers that add up."""

from prometheus_client.parser import text_string_to_metric_families

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
    """The release is a label; the snapshot, which changes all the time, is a number."""
    served.write_snapshot(7)
    await served.service.adoption.adopt_newest()
    found = await scrape(call)
    assert 1 == found["tidemill_model_info", labels(release="r0001")]
    assert 7 == found["tidemill_model_snapshot", labels()]
    assert 1 == found["tidemill_swaps_total", labels(kind="snapshot")]
    assert 1 == found["tidemill_swaps_total", labels(kind="release")]
    assert 0 == found["tidemill_swaps_refused_total", labels()]
