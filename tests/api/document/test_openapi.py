"""The published document: every route, every refusal, and examples that are true."""

import re

import msgspec
import pytest
from guarded import Guarded, with_key

from api.document.openapi import document, operations
from api.http.call import Call
from api.http.routes import hot_routes, rare_routes
from api.road.wishes import wishes_of
from tidemill import Label, Project, Request, RequestFeature
from tidemill.errors import InputError

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
    assert ["application/problem+json"] == list(made["500"]["content"])


async def test_the_version_is_31(call):
    """Of the format; the page is made of it."""
    assert (await call("GET", "/openapi.json")).json["openapi"].startswith("3.1")
    assert 200 == (await call("GET", "/docs")).status


async def test_the_topics_are_published_too(call):
    """As an AsyncAPI document of the declaration that serves."""
    found = (await call("GET", "/v1/asyncapi.json")).json
    assert ("3.0.0", "payments.events") == (
        found["asyncapi"], found["channels"]["events"]["address"]
    )  # fmt: skip


@pytest.mark.parametrize("secured", [False, True])
def test_every_example_of_a_refusal_has_its_status(world, secured):
    """Whichever operation it stands under."""
    made = document(world.service.project, secured)
    for path, methods in made["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                examples = answer["content"].get("application/problem+json", {}).get("examples", {})
                for cause in examples:
                    value = made["components"]["examples"][cause]["value"]
                    assert (path, cause, int(status)) == (path, value["cause"], value["status"])


@pytest.mark.parametrize("secured", [False, True])
def test_refusals_under_v2_are_the_protocols(world, secured):
    """Whatever is refused there is refused in its words."""
    for path, methods in document(world.service.project, secured)["paths"].items():
        for operation in methods.values() if path.startswith("/v2") else ():
            for status, answer in operation["responses"].items():
                assert (path, status, ["application/json"]) == (
                    path, status, list(answer["content"])
                )  # fmt: skip


async def test_a_refusal_of_a_key_under_v2_is_as_published(served, caller_of):
    """Without a key, and with one for something else."""
    guarded = Guarded(served)
    key, ask = with_key(guarded.key("read")), caller_of(guarded.app)
    made = (await ask("GET", "/openapi.json", headers=key)).json["paths"]
    responses = made["/v2/models/{model}/infer"]["post"]["responses"]
    for headers, status in (([], 401), (key, 403)):
        reply = await ask("POST", "/v2/models/payments/infer", b"{}", headers=headers)
        published = list(responses[str(status)]["content"])
        assert (status, [reply.headers["content-type"]]) == (reply.status, published)


async def test_a_link_leads_from_a_score_to_its_prediction(served, call, request_body):
    """By the id in the answer, of a batch by its first."""
    made = (await call("GET", "/openapi.json")).json["paths"]
    paths = {o["operationId"]: path for path, methods in made.items() for o in methods.values()}
    asked = {"/v1/score": request_body, "/v1/score:batch": {"requests": [request_body]}}
    for path, body in asked.items():
        link = made[path]["post"]["responses"]["200"]["links"]["prediction"]
        value = (await call.post(path, body)).json
        for part in link["parameters"]["id"].removeprefix("$response.body#/").split("/"):
            value = value[int(part) if isinstance(value, list) else part]
        reply = await call("GET", paths[link["operationId"]].replace("{id}", value))
        assert (200, value) == (reply.status, reply.json["id"])


def test_a_project_may_declare_no_events():
    """Its document has a place for them into which nothing fits."""
    request = Request({"amount": float})
    features = (RequestFeature("amount", request.amount),)
    made = document(Project("plain", (), request, features, Label(wait="1d")), secured=True)
    assert {"not": {}} == made["components"]["schemas"]["Event"]
    body = made["paths"]["/v1/events"]["post"]["requestBody"]
    assert {} == body["content"]["application/json"]["examples"]


def fits(world, path: str, name: str, text: str) -> bool:
    """Whether the document allows this value of a parameter."""
    parameters = document(world.service.project)["paths"][path]["post"]["parameters"]
    (schema,) = (each["schema"] for each in parameters if each["name"] == name)
    within = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    return within and re.search(schema["pattern"], text) is not None


@pytest.mark.parametrize(
    "text",
    ["k1", "a.b:c_d-1", '"k1"', "x" * 255, f'"{"x" * 255}"', "", '""', '"', 'a"', '"a', "a b",
     "x" * 256, f'"{"x" * 256}"'],
)  # fmt: skip
async def test_the_document_says_which_keys_are_taken(world, call, text):
    """Idempotency keys, in quotes or without."""
    headers = [(b"idempotency-key", text.encode())]
    taken = (await call("POST", "/v1/labels", b"[]", headers=headers)).status == 202
    assert taken == fits(world, "/v1/labels", "Idempotency-Key", text)


@pytest.mark.parametrize(
    "text",
    ["1500", "5min", "500ms", "14d", "9" * 9, "99999s", "0", "0ms", "007", "5m", "1.5h", "-1", "",
     "9" * 10, "100000s"],
)  # fmt: skip
def test_the_document_says_which_ages_are_taken(world, text):
    """The ages that a caller may tolerate."""
    query = f"max_staleness={text}".encode()
    try:
        taken = wishes_of(Call({"path": "/", "query_string": query, "headers": []}, [])) is not None
    except InputError:
        taken = False
    assert taken == fits(world, "/v1/score", "max_staleness", text)
