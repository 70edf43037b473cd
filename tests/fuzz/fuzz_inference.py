"""Bodies of the Open Inference Protocol, with a binary part as well.

Four digits at the beginning say how long the JSON is; without them there is no binary part.
"""

import struct

import msgspec
from fuzzed_project import CLOCK, PROJECT, SKEW_MS

from api.http.call import Call
from api.http.errors import Refused
from api.resources.infer import Inference, InferRoutes
from features.decoding import RequestDecoder

ALLOWED = (Refused,)
DECODER = RequestDecoder(PROJECT, CLOCK, SKEW_MS)
PATH = f"/v2/models/{PROJECT.name}/infer"
ANSWER = {
    "prediction_id": "p", "score": 0.5, "label": 1, "degraded": [],
    "model": {"release": "r0001", "arm": "champion"},
}  # fmt: skip


async def score(call: Call) -> bytes:
    """Answers what the batch route would take."""
    requests = DECODER.decode_batch(call.body)
    return msgspec.json.encode({"predictions": [ANSWER] * len(requests)})


async def nothing_missing() -> dict[str, str]:
    """Ready."""
    return {}


ROUTES = InferRoutes(Inference(lambda: PROJECT, lambda: "r0001", score, nothing_missing, 1_000))


def seeds() -> list[bytes]:
    """In JSON, flat and in rows, and in binary."""
    plain = (
        b'{"inputs":[{"name":"card","shape":[2],"datatype":"BYTES","data":["c1","c2"]},'
        b'{"name":"amount","shape":[2,1],"datatype":"FP32","data":[[1.5],[2]]},'
        b'{"name":"count","shape":[2],"datatype":"INT64","data":[1,2]},'
        b'{"name":"sure","shape":[2],"datatype":"BOOL","data":[true,false]}],'
        b'"id":"7","outputs":[{"name":"score"}]}'
    )
    packed = (
        b'{"inputs":[{"name":"card","shape":[1],"datatype":"BYTES",'
        b'"parameters":{"binary_data_size":6}},'
        b'{"name":"amount","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}},'
        b'{"name":"count","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}},'
        b'{"name":"sure","shape":[1],"datatype":"BOOL","parameters":{"binary_data_size":1}}]}'
    )
    part = struct.pack("<I2sdB?", 2, b"c1", 1.5, 3, True)
    return [plain, b"%04d" % len(packed) + packed + part]


def one(data: bytes) -> None:
    """What is answered has a score for each row; what is refused is the caller's mistake."""
    headers = []
    if data[:4].isdigit():
        headers = [(b"inference-header-content-length", data[:4])]
        data = data[4:]
    call = Call({"path": PATH, "query_string": b"", "headers": headers}, [], data)
    try:
        answer = msgspec.json.decode(_finished(call))
    except Refused as refused:
        assert refused.status in (400, 404, 413), refused.status
        raise
    for output in answer["outputs"]:
        assert output["shape"] == [len(output["data"])]


def _finished(call: Call) -> bytes:
    """Nothing is waited for on this road, so no loop is needed."""
    road = ROUTES.infer(call)
    try:
        road.send(None)
    except StopIteration as done:
        return bytes(done.value)
    raise AssertionError("it waits for something")
