"""The published document: every route, every refusal, and examples that are true."""

import msgspec
import pytest

from api.openapi import document, operations
from api.routes import hot_routes, rare_routes

OWN = {
    "/healthz", "/readyz", "/metrics", "/v1/status", "/v1/quality", "/v1/jobs",
    "/v1/features/{entity}/{id}",
}  # fmt: skip


def test_every_route_is_published(world):
    """Those that answer, and no other."""
    routes = {
        (route.method.lower(), path)
        for found in (hot_routes(world.service), rare_routes(world.service))
        for path, route in found.items()
    } | {("get", path) for path in OWN}
    published = {(each.method, each.path) for each in operations(world.service.project)}
    assert routes == published


def test_operations_have_ids_of_their_own(world):
    """No two share one."""
    found = [o.document(False)["operationId"] for o in operations(world.service.project)]
    assert len(found) == len(set(found))


def test_every_reference_leads_somewhere(world):
    """Schemas and examples alike."""
    made = document(world.service.project, secured=True)
    text = msgspec.json.encode(made).decode()
    for kind, there in made["components"].items():
        named = {part.split('"')[0] for part in text.split(f"#/components/{kind}/")[1:]}
        assert named <= set(there)


def test_it_says_what_a_caller_needs(world):
    """With keys declared: how to say who one is, and what happens to those who do not."""
    made = document(world.service.project, secured=True)
    score = made["paths"]["/v1/score"]["post"]
    assert [{"key": []}, {"bearer": []}] == score["security"]
    assert {"401", "403", "429"} <= set(score["responses"])
    assert [] == made["paths"]["/healthz"]["get"]["security"]
    without = document(world.service.project)["paths"]["/v1/score"]["post"]
    assert "security" not in without and "401" not in without["responses"]


@pytest.mark.parametrize("status", ["400", "413", "422", "503"])
def test_every_refusal_has_examples(world, status):
    """Of the causes there are."""
    made = document(world.service.project)
    refusal = made["paths"]["/v1/score"]["post"]["responses"][status]
    examples = refusal["content"]["application/problem+json"]["examples"]
    for cause in examples:
        value = made["components"]["examples"][cause]["value"]
        assert (cause, int(status)) == (value["cause"], value["status"])


async def test_every_example_of_a_body_is_accepted(served, call):
    """In each of its media types."""
    tried = []
    for path, methods in (await call("GET", "/openapi.json")).json["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            for media, each in content.items():
                if path.startswith("/v1/models/"):
                    continue  # needs a process that takes orders; see test_models
                for example in each["examples"].values():
                    at = path.replace("{model}", "payments").replace("{version}", "r0001")
                    body = msgspec.json.encode(example["value"])
                    headers = [(b"content-type", media.encode())]
                    reply = await call(method.upper(), at, body, headers=headers)
                    assert (at, str(reply.status)) == (at, min(operation["responses"]))
                    tried.append((path, media))
    assert {
        "/v1/score", "/v1/score:batch", "/v1/labels", "/v1/events", "/v2/models/{model}/infer",
        "/v2/models/payments/versions/{version}/infer",
    } == {path for path, _ in tried}  # fmt: skip
    assert 3 == len({media for path, media in tried if path == "/v1/events"})


async def test_the_answer_of_a_status_fits_its_schema(served, call):
    """The readiness probe says the same things when it is not ready."""
    served.store_gone = True
    made = (await call("GET", "/openapi.json")).json["paths"]["/readyz"]["get"]["responses"]
    reply = await call("GET", "/readyz")
    schema = made[str(reply.status)]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == set(reply.json)


async def test_the_version_is_31(call):
    """Of the format; FastAPI's pages read it."""
    assert (await call("GET", "/openapi.json")).json["openapi"].startswith("3.1")
    assert 200 == (await call("GET", "/docs")).status


async def test_the_topics_are_published_too(call):
    """As an AsyncAPI document of the declaration that serves."""
    found = (await call("GET", "/v1/asyncapi.json")).json
    assert ("3.0.0", "payments.events") == (
        found["asyncapi"], found["channels"]["events"]["address"]
    )  # fmt: skip
