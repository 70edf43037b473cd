"""The Open Inference Protocol: health, metadata, and scores by tensors as KServe's clients ask."""

import struct

import msgspec
import numpy as np
import pytest

from api.http.call import Call
from api.resources.infer import Inference, InferRoutes

MODEL = "/v2/models/payments"
INFER = f"{MODEL}/infer"


def tensor(name: str, datatype: str, data: list, shape: list[int] | None = None) -> dict:
    """One input."""
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


INPUTS = [
    tensor("card", "BYTES", ["c1", "c2"]),
    tensor("shop", "BYTES", ["s1", "s2"]),
    tensor("amount", "FP64", [12.5, 7]),
    tensor("country", "BYTES", ["NZ", None]),
    tensor("time", "INT64", [1_400_000_000_000] * 2),
]
REQUESTS = [
    {"card": "c1", "shop": "s1", "amount": 12.5, "country": "NZ", "time": 1_400_000_000_000},
    {"card": "c2", "shop": "s2", "amount": 7.0, "country": None, "time": 1_400_000_000_000},
]


def outputs(reply) -> dict[str, list]:
    """The answer's tensors by name; each says its own shape."""
    found = reply.json["outputs"]
    assert all([len(each["data"])] == each["shape"] for each in found)
    return {each["name"]: each["data"] for each in found}


async def test_rows_are_scored_as_requests(served, call):
    """Each row gets the score that the request gets alone."""
    reply = await call.post(INFER, {"id": "42", "inputs": INPUTS})
    alone = [(await call.post("/v1/score", request)).json for request in REQUESTS]
    found = outputs(reply)
    assert (200, "42", "payments", "r0001") == (
        reply.status, *(reply.json[n] for n in ("id", "model_name", "model_version")),
    )  # fmt: skip
    assert [each["score"] for each in alone] == found["score"]
    assert [each["label"] for each in alone] == found["label"]
    assert (["r0001"] * 2, ["", ""]) == (found["release"], found["degraded"])
    assert {32} == {len(each) for each in found["prediction_id"]}
    assert 4 == served.service.log.depth


async def test_only_the_wanted_outputs_are_answered(served, call):
    """In the order asked for; without an id none comes back."""
    wanted = [{"name": "prediction_id"}, {"name": "score", "parameters": {"binary_data": False}}]
    reply = await call.post(INFER, {"inputs": INPUTS, "outputs": wanted})
    assert ["prediction_id", "score"] == list(outputs(reply))
    assert "id" not in reply.json


async def test_a_column_may_have_two_dimensions(served, call):
    """Flat, or as the shape says; what is optional may be left out, and so may the time."""
    inputs = [
        tensor("card", "BYTES", [["c1"], ["c2"]], [2, 1]),
        tensor("shop", "BYTES", ["s1", "s2"], [2, 1]),
        tensor("amount", "FP32", [12.5, 7]),
    ]
    assert 2 == len(outputs(await call.post(INFER, {"inputs": inputs}))["score"])


@pytest.mark.parametrize(("datatype", "value"), [("FP32", 3.5), ("INT8", 3), ("UINT64", 3)])
async def test_a_number_may_come_as_any_number(served, call, datatype, value):
    """As long as its element fits its type."""
    inputs = [INPUTS[0], INPUTS[1], tensor("amount", datatype, [value, value])]
    assert 200 == (await call.post(INFER, {"inputs": inputs})).status


def packed(arrays: dict[str, tuple[str, bytes]], rows: int) -> tuple[list, bytes]:
    """A request with its tensors behind the JSON, as Triton's client sends it."""
    inputs = [
        {"name": name, "datatype": kind, "shape": [rows],
         "parameters": {"binary_data_size": len(data)}}
        for name, (kind, data) in arrays.items()
    ]  # fmt: skip
    head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
    header = [(b"inference-header-content-length", b"%d" % len(head))]
    return header, head + b"".join(data for _, data in arrays.values())


def strings(*values: str) -> bytes:
    """Each behind its length."""
    return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)


async def test_tensors_may_be_packed(served, call):
    """Little-endian behind the JSON, as Triton's client sends them unless told otherwise."""
    arrays = {
        "card": ("BYTES", strings("c1", "c2")),
        "shop": ("BYTES", strings("s1", "s2")),
        "amount": ("FP64", np.array([12.5, 7.0]).tobytes()),
        "time": ("INT64", np.array([1_400_000_000_000] * 2).tobytes()),
    }
    headers, body = packed(arrays, 2)
    reply = await call("POST", INFER, body, headers=headers)
    assert [
        (await call.post("/v1/score", request | {"country": None})).json["score"]
        for request in REQUESTS
    ] == outputs(reply)["score"]


@pytest.mark.parametrize(
    ("arrays", "rows"),
    [
        ({"card": ("BYTES", strings("c1"))}, 2),
        ({"card": ("BYTES", b"\xff\xff\xff\xff")}, 1),
        ({"card": ("BYTES", struct.pack("<I", 1) + b"\xff")}, 1),
        ({"amount": ("FP64", b"1234")}, 1),
        ({"amount": ("FP64", np.array([np.nan]).tobytes()), "card": ("BYTES", strings("c")),
          "shop": ("BYTES", strings("s"))}, 1),
    ],
)  # fmt: skip
async def test_packed_tensors_that_are_none_are_refused(served, call, arrays, rows):
    """400, in the protocol's words."""
    headers, body = packed(arrays, rows)
    reply = await call("POST", INFER, body, headers=headers)
    assert (400, ["error"]) == (reply.status, list(reply.json))
    cut = await call("POST", INFER, body[:-1], headers=headers)
    assert 400 == cut.status


@pytest.mark.parametrize("length", [b"x", b"-1", b"99999999", b"9" * 40, b""])
async def test_a_length_that_cannot_be_is_refused(served, call, length):
    """Of the JSON in front of packed tensors."""
    headers = [(b"inference-header-content-length", length)]
    reply = await call("POST", INFER, msgspec.json.encode({"inputs": INPUTS}), headers=headers)
    assert (400, ["error"]) == (reply.status, list(reply.json))


def without(name: str) -> list[dict]:
    """The inputs but one."""
    return [each for each in INPUTS if each["name"] != name]


def changed(name: str, **changes: object) -> list[dict]:
    """The inputs, one of them changed."""
    return [each | changes if each["name"] == name else each for each in INPUTS]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"[]", "array"),
        (b"{}", "inputs"),
        (b'{"inputs":' + b"[" * 50_000, "inputs"),
        (
            b'{"inputs":[{"name":"card","datatype":"BYTES","shape":[1],"data":' + b"[" * 50_000,
            "deep",
        ),
        ({"inputs": []}, "card"),
        ({"inputs": INPUTS, "more": 1}, "more"),
        ({"inputs": without("amount")}, "amount"),
        ({"inputs": [*INPUTS, tensor("colour", "BYTES", ["red", "red"])]}, "colour"),
        ({"inputs": [*INPUTS, INPUTS[0]]}, "twice"),
        ({"inputs": changed("card", datatype="FP64")}, "BYTES"),
        ({"inputs": changed("amount", datatype="BYTES")}, "FP64"),
        ({"inputs": changed("amount", datatype="FLOAT")}, "FP64"),
        ({"inputs": changed("amount", data=["12.5", "7"])}, "amount.data[0]"),
        ({"inputs": changed("amount", data=[1, True])}, "amount.data[1]"),
        ({"inputs": changed("amount", data=[1, None])}, "amount.data[1]"),
        ({"inputs": changed("amount", data=[1, [2]])}, "amount.data[1]"),
        ({"inputs": changed("amount", datatype="INT8", data=[1, 128])}, "amount.data[1]"),
        ({"inputs": changed("amount", datatype="UINT8", data=[-1, 1])}, "amount.data[0]"),
        ({"inputs": changed("amount", shape=[3])}, "2 elements"),
        ({"inputs": changed("amount", shape=[])}, "[rows]"),
        ({"inputs": changed("amount", shape=[2, 2])}, "[rows]"),
        ({"inputs": changed("amount", shape=[-1])}, "[rows]"),
        ({"inputs": changed("amount", shape=[2, 1, 1])}, "[rows]"),
        ({"inputs": changed("amount", shape=[1], data=[1])}, "same number of rows"),
        ({"inputs": changed("amount", data=None)}, "elements"),
        ({"inputs": changed("amount", shape="2")}, "shape"),
        ({"inputs": changed("amount", parameters={"binary_data_size": 4})}, "binary_data_size"),
        ({"inputs": changed("amount", parameters={"binary_data_size": "4"})}, "binary_data_size"),
        ({"inputs": changed("time", data=[-5, 5])}, "requests[0].time"),
        ({"inputs": changed("time", data=[2**62, 5])}, "requests[0].time"),
        ({"inputs": changed("amount", shape=[201], data=[1.0] * 201)}, "at most 200"),
        ({"inputs": INPUTS, "outputs": [{"name": "vector"}]}, "score"),
        ({"inputs": INPUTS, "outputs": [{"name": "score"}] * 2}, "twice"),
        ({"inputs": INPUTS, "id": 42}, "id"),
    ],
)
async def test_what_cannot_be_used_is_refused(served, call, body, said):
    """400 with an error that names what is wrong; nothing is scored."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    reply = await call("POST", INFER, data)
    assert (400, "application/json") == (reply.status, reply.headers["content-type"])
    assert ["error"] == list(reply.json)
    assert said in reply.json["error"]
    assert 0 == served.service.log.depth


async def test_no_rows_are_answered_with_none(served, call):
    """Every output is empty."""
    inputs = [each | {"shape": [0], "data": []} for each in INPUTS]
    assert [] == outputs(await call.post(INFER, {"inputs": inputs}))["score"]


async def test_a_version_is_the_release_that_answers(served, call):
    """Another one is not there."""
    assert 200 == (await call.post(f"{MODEL}/versions/r0001/infer", {"inputs": INPUTS})).status
    for path in (f"{MODEL}/versions/r0002/infer", "/v2/models/other/infer"):
        reply = await call.post(path, {"inputs": INPUTS})
        assert (404, ["error"]) == (reply.status, list(reply.json))


async def test_the_version_is_the_one_that_answered(served):
    """Also where another takes its place while the rows are scored."""
    service, releases = served.service, ["r0001"]

    async def score(call):
        body = await service.score_batch(call)
        releases[0] = "r0002"
        return body

    routes = InferRoutes(
        Inference(lambda: service.project, lambda: releases[0], score, service.readiness, 200)
    )
    scope = {"path": INFER, "headers": [], "query_string": b""}
    body = await routes.infer(Call(scope, [], msgspec.json.encode({"inputs": INPUTS})))
    assert "r0001" == msgspec.json.decode(body)["model_version"]


async def test_metadata_names_inputs_and_outputs(served, call):
    """As the declaration has them."""
    found = (await call("GET", MODEL)).json
    assert ("payments", ["r0001"], "tidemill") == tuple(
        found[name] for name in ("name", "versions", "platform")
    )
    assert {
        "card": "BYTES", "shop": "BYTES", "amount": "FP64", "country": "BYTES", "time": "INT64"
    } == {each["name"]: each["datatype"] for each in found["inputs"]}  # fmt: skip
    assert ["score", "label", "prediction_id", "release", "degraded"] == [
        each["name"] for each in found["outputs"]
    ]
    assert found == (await call("GET", f"{MODEL}/versions/r0001")).json


async def test_health_is_as_the_protocol_says(served, call):
    """200 is yes, 400 is no."""
    assert {"live": True} == (await call("GET", "/v2/health/live")).json
    assert {"ready": True} == (await call("GET", "/v2/health/ready")).json
    ready = (await call("GET", f"{MODEL}/ready")).json
    assert {"name": "payments", "ready": True} == ready
    assert "tidemill/payments" == (await call("GET", "/v2")).json["name"]
    served.store_gone = True
    for path in ("/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/r0001/ready"):
        reply = await call("GET", path)
        assert 400 == reply.status
        assert "connection refused" in reply.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", INFER, 405),
        ("POST", MODEL, 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", f"{MODEL}/versions/r0099", 404),
        ("GET", f"{MODEL}/versions/r0099/ready", 404),
    ],
)
async def test_its_errors_are_the_protocols(served, call, method, path, status):
    """Under its paths nothing answers with a problem."""
    reply = await call(method, path)
    assert (status, ["error"]) == (reply.status, list(reply.json))
    assert status == 404 or reply.headers["allow"] in ("GET", "POST")


async def test_a_full_queue_is_503(served, call):
    """With a time to come again, as everywhere."""
    served.service.log.reserve(served.service.settings.prediction_queue)
    reply = await call.post(INFER, {"inputs": INPUTS})
    assert (503, "1") == (reply.status, reply.headers["retry-after"])
