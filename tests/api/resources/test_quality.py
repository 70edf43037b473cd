"""GET /v1/quality: the running quality as the worker told it."""

import msgspec

from learners.progress import Progress, ProgressSettings
from tidemill.quality import Quality
from tidemill.wire import Example, Prediction

QUALITY = "/v1/quality"


def told() -> Quality:
    """What a worker tells after some labels."""
    progress = Progress(settings=ProgressSettings(slices=("card",)))
    answered = Prediction("p", "k", 5, b"", "s", 0.75, 0.5, "r0001", 1, 5, b'{"card":"c"}')
    progress.add(
        [
            Example(msgspec.structs.replace(answered, id=f"p{i}"), i % 2, 9, 9, 0, i + 1)
            for i in range(4)
        ]
    )
    return progress.report()


async def test_it_is_what_the_worker_told(world, call):
    """Sliding, decayed, slices, buckets and maturity."""
    expected = msgspec.json.encode(told())
    world.worker = ({"quality": msgspec.json.decode(expected)}, [])
    answer = await call("GET", QUALITY)
    assert 200 == answer.status
    found = msgspec.convert(answer.json, Quality)
    assert told() == found
    assert 0.5 == found.sliding.roles["service"].auc


async def test_it_is_404_before_there_is_any(call):
    """No worker has begun yet."""
    answer = await call("GET", QUALITY)
    assert (404, "unknown_quality") == (answer.status, answer.json["cause"])


async def test_it_is_503_without_the_store(world, call):
    """The caller may try again."""
    world.store_gone = True
    assert 503 == (await call("GET", QUALITY)).status


async def test_its_schema_is_published(call):
    """Every part of the document has its fields in the OpenAPI document, and its meaning."""
    document = (await call("GET", "/openapi.json")).json
    answered = document["paths"][QUALITY]["get"]["responses"]["200"]
    reference = {"$ref": "#/components/schemas/Quality"}
    assert reference == answered["content"]["application/json"]["schema"]
    schemas = document["components"]["schemas"]
    assert set(Quality.__struct_fields__) == set(schemas["Quality"]["properties"])
    for part in ("Running", "Measures", "Maturity", "Bucket", "Slice", "Candidate", "DriftAlert"):
        assert schemas[part]["description"]
