"""GET /v1/features: one entity over HTTP, and what is refused."""

from tidemill.errors import StoreUnavailable


async def test_an_entity_is_shown_at_a_time(world, call):
    """Values, times and state as JSON; null where nothing is known."""
    answer = await call("GET", "/v1/features/card/a%7Cb?at=1367366400000")
    assert 200 == answer.status
    found = answer.json
    assert ("card", {"card": "a|b"}, 1367366400000, False, None) == tuple(
        found[name] for name in ("entity", "id", "at_ms", "known", "age_ms")
    )
    assert set(found["values"]) < set(world.plan.schema.names)


async def test_now_is_the_services_own(world, call):
    """Without a time the clock decides; an id may contain a slash."""
    found = (await call("GET", "/v1/features/card/a/b")).json
    assert (world.clock.now_ms(), {"card": "a/b"}) == (found["at_ms"], found["id"])


async def test_an_unknown_entity_is_404(call):
    """Cause, found and what there is."""
    answer = await call("GET", "/v1/features/planet/x")
    error = answer.json
    assert (404, "unknown_entity", "entity", "'planet'") == (
        answer.status, error["cause"], error["field"], error["found"]
    )  # fmt: skip
    assert "card" in error["allowed"]


async def test_a_time_that_is_none_is_422(call):
    """The field is named."""
    answer = await call("GET", "/v1/features/card/x?at=noon")
    assert (422, "at") == (answer.status, answer.json["field"])


async def test_without_the_store_it_is_503(world, call):
    """Also when the store only hangs."""
    world.store.gone = True
    answer = await call("GET", "/v1/features/card/x")
    assert (503, "store_unavailable") == (answer.status, answer.json["cause"])
    assert StoreUnavailable.__name__ not in answer.json["found"]
