"""The status JSON keeps the contract the console reads."""

SCORE = "/v1/score"


async def test_a_fresh_service_knows_nothing_yet(world, call):
    """Every field is there; what is unknown is null or empty."""
    status = (await call("GET", "/v1/status")).json
    nothing = {"p50": None, "p99": None}
    assert {
        "project": "payments",
        "now_ms": world.clock.now_ms(),
        "features": {
            "schema": world.plan.schema.hash, "state": world.plan.state, "count": 11,
            "waiting": "",
        },
        "model": {
            "release": "prior", "snapshot": 0, "examples": 0,
            "adopted_ms": world.clock.now_ms(), "swaps": [], "refused": [],
            "challengers": [],
        },
        "api": {
            "requests_total": 0, "failed_total": 0, "latency_ms": nothing,
            "label_to_weights_ms": nothing, "queue_depth": 0, "series": [],
        },
        "worker": {"alive": False, "seen_ms": None, "series": [], "counts": {}},
        "bad_cases": [],
    } == status  # fmt: skip


async def test_the_model_is_shown_with_its_release_changes(served, call):
    """Version, examples, when it was adopted, and the releases on the time axis."""
    served.write_snapshot(3)
    await served.service.adoption.adopt_newest()
    now_ms = served.clock.now_ms()
    assert {
        "release": "r0001",
        "snapshot": 3,
        "examples": 30,
        "adopted_ms": now_ms,
        "swaps": [{"time_ms": now_ms, "release": "r0001", "snapshot": 0}],
        "refused": [],
        "challengers": [],
    } == (await call("GET", "/v1/status")).json["model"]


async def test_a_second_of_scoring_is_one_point(served, call, request_body):
    """Rate and percentiles of each second, and none for a second without requests."""
    measurements = served.service.measurements
    measurements.tick(served.clock.now_ms(), "score")
    for _ in range(10):
        await call.post(SCORE, request_body)
    for _ in range(2):
        served.clock.advance(2_000)
        measurements.tick(served.clock.now_ms(), "score")
    busy, idle = (await call("GET", "/v1/status")).json["api"]["series"]
    assert (5.0, 0.0) == (busy["scores_per_second"], idle["scores_per_second"])
    assert 0 < busy["p50_ms"] <= busy["p99_ms"]
    assert (None, None) == (idle["p50_ms"], idle["p99_ms"])


async def test_the_series_keeps_ten_minutes(world, call):
    """Old points leave."""
    for _ in range(700):
        world.clock.advance(1_000)
        world.service.measurements.tick(world.clock.now_ms(), "score")
    series = (await call("GET", "/v1/status")).json["api"]["series"]
    assert (600, world.clock.now_ms()) == (len(series), series[-1]["time_ms"])


async def test_failures_are_those_of_the_service(world, call, request_body):
    """A 503 counts as failed, a bad request does not."""
    await call.post(SCORE, request_body)
    await call("POST", SCORE, b"{")
    world.service.log.reserve(world.service.settings.prediction_queue - 1)
    await call.post(SCORE, request_body)
    api = (await call("GET", "/v1/status")).json["api"]
    assert (3, 1) == (api["requests_total"], api["failed_total"])


async def test_what_the_worker_wrote_is_passed_through(world, call):
    """Its status and bad cases appear as they are."""
    world.worker = (
        {"alive": True, "seen_ms": 5, "series": [{"time_ms": 4}], "counts": {"events_read": 4}},
        [{"reason": "large"}],
    )
    status = (await call("GET", "/v1/status")).json
    assert world.worker == (status["worker"], status["bad_cases"])


async def test_an_unknown_worker_is_not_alive(world, call):
    """Without the store the api still reports its own side."""
    world.store_gone = True
    status = (await call("GET", "/v1/status")).json
    assert (False, []) == (status["worker"]["alive"], status["bad_cases"])
    assert "payments" == status["project"]


async def test_what_was_refused_is_told(served, call):
    """When, what and why; the newest twenty."""
    served.write_snapshot(1, schema="0" * 12)
    await served.service.adoption.adopt_newest()
    (refused,) = (await call("GET", "/v1/status")).json["model"]["refused"]
    assert (served.clock.now_ms(), "snapshot of head") == (refused["time_ms"], refused["artifact"])
    assert "snapshot schema: found 000000000000" in refused["error"]
    for number in range(30):
        served.service.measurements.refuse_swap(number, "snapshot of head", "another")
    refusals = (await call("GET", "/v1/status")).json["model"]["refused"]
    assert list(range(10, 30)) == [each["time_ms"] for each in refusals]
