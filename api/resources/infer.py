"""The Open Inference Protocol (KServe's and Triton's "v2"): score by tensors, metadata and health.

The one model is the project: its inputs are the request's fields, its versions the releases. It
answers as the protocol says, errors too: `{"error": "…"}`, 400 for what cannot be used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

import tidemill
from api.http.call import Call
from api.http.errors import INFERENCE, Problem, Refused, refuse_input, refuse_missing
from api.resources.tensors import InputTensors, Scalar, Tensor, output
from features.decoding import input_error
from tidemill.declaration import Project
from tidemill.errors import InputError

MODELS = f"{INFERENCE}/models/"
OUTPUTS = {"score": "FP64", "label": "INT64", "prediction_id": "BYTES", "release": "BYTES",
           "degraded": "BYTES"}  # fmt: skip
_BINARY = b"inference-header-content-length"
_ENCODE = msgspec.json.Encoder().encode


class RequestedOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An output that is wanted; its parameters are passed over."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked: a tensor for each field of the request, one row for each request.

    Without `outputs` all are answered; parameters are passed over.
    """

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[RequestedOutput] = []
    parameters: dict[str, Any] = {}


_REQUEST = msgspec.json.Decoder(InferRequest)


@dataclass(frozen=True, slots=True)
class Inference:
    """What the protocol's routes need of the service.

    `score` answers the body of `/v1/score:batch`; `release` is the one that answers; `missing` is
    what does not answer, with the reason; `limit` the most rows.
    """

    project: Callable[[], Project]
    release: Callable[[], str]
    score: Callable[[Call], Awaitable[bytes]]
    missing: Callable[[], Awaitable[dict[str, str]]]
    limit: int


class InferRoutes:
    """Answers the protocol's routes."""

    def __init__(self, inference: Inference) -> None:
        self._service = inference
        self._inputs: tuple[Project, InputTensors] | None = None

    async def server(self, _: Call) -> bytes:
        """The server's metadata."""
        name, version = f"tidemill/{self._service.project().name}", tidemill.__version__
        return _ENCODE({"name": name, "version": version, "extensions": []})

    async def live(self, _: Call) -> bytes:
        """Alive is who answers."""
        return b'{"live":true}'

    async def ready(self, _: Call) -> bytes:
        """Ready when store and broker answer. Raises Refused (400, the protocol's "not")."""
        if missing := await self._service.missing():
            found = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
            raise Refused(400, Problem("not_ready", "ready", found, "store and broker answer"))
        return b'{"ready":true}'

    async def model(self, call: Call) -> bytes:
        """The model's metadata. Raises Refused (404) for another model or version."""
        self._check_name(call)
        project, release = self._service.project(), self._service.release()
        outputs = [
            {"name": name, "datatype": datatype, "shape": [-1]}
            for name, datatype in OUTPUTS.items()
            if name != "label" or project.label.kind == "binary"
        ]
        return _ENCODE(
            {
                "name": project.name,
                "versions": [release],
                "platform": "tidemill",
                "inputs": self._tensors().metadata(),
                "outputs": outputs,
            }
        )

    async def model_ready(self, call: Call) -> bytes:
        """Ready when the server is. Raises Refused."""
        self._check_name(call)
        await self.ready(call)
        name = self._service.project().name
        return _ENCODE({"name": name, "ready": True})

    async def infer(self, call: Call) -> bytes:
        """Score the rows of the inputs. Raises Refused."""
        self._check_name(call)
        try:
            asked, packed = _decoded(call)
            wanted = self._wanted(asked)
            rows = self._tensors().rows(asked.inputs, packed, self._service.limit)
            call.body = _ENCODE({"requests": rows})
            found = msgspec.json.decode(await self._service.score(call))["predictions"]
        except InputError as error:
            refused = refuse_input(error)
            raise Refused(
                400 if refused.status == 422 else refused.status, refused.problem
            ) from None
        answer = {
            "model_name": self._service.project().name,
            "model_version": self._answered(found),
            "outputs": [output(name, OUTPUTS[name], _column(found, name)) for name in wanted],
        }
        return _ENCODE(answer if asked.id is None else answer | {"id": asked.id})

    def _answered(self, answers: list[dict[str, Any]]) -> str:
        """The champion that answered: another may have taken its place meanwhile."""
        versions = (answer["model"] for answer in answers)
        champions = (each["release"] for each in versions if each["arm"] == "champion")
        return next(champions, self._service.release())

    def _wanted(self, asked: InferRequest) -> list[str]:
        there = [n for n in OUTPUTS if n != "label" or self._binary]
        wanted: list[str] = []
        for each in asked.outputs:
            if each.name not in there:
                allowed = f"one of {', '.join(there)}"
                raise InputError("unknown_tensor", "outputs", repr(each.name[:80]), allowed)
            if each.name in wanted:  # or a small request would have a very large answer
                raise InputError("repeated_tensor", "outputs", f"{each.name} twice", "each once")
            wanted.append(each.name)
        return wanted or there

    @property
    def _binary(self) -> bool:
        return self._service.project().label.kind == "binary"

    def _check_name(self, call: Call) -> None:
        """The path's model and version must be those that answer."""
        parts = call.path.removeprefix(MODELS).split("/")
        name, release = self._service.project().name, self._service.release()
        if parts[0] != name:
            raise refuse_missing("unknown_model", "model", repr(parts[0][:80]), name)
        if parts[1:2] == ["versions"] and parts[2] != release:
            raise refuse_missing("unknown_version", "version", repr(parts[2][:80]), release)

    def _tensors(self) -> InputTensors:
        project = self._service.project()
        if self._inputs is None or self._inputs[0] is not project:
            self._inputs = project, InputTensors(project.request.columns)
        return self._inputs[1]


def _decoded(call: Call) -> tuple[InferRequest, bytes]:
    """The request, and what stands behind its JSON where a header says how long that is."""
    body, packed = call.body, b""
    if (length := call.header(_BINARY)) is not None:
        if not length.isdigit() or len(length) > 12 or int(length) > len(body):
            found, allowed = repr(length[:20].decode("latin-1")), f"at most {len(body)}"
            raise InputError("invalid_value", _BINARY.decode(), found, allowed)
        body, packed = body[: int(length)], body[int(length) :]
    try:
        return _REQUEST.decode(body), packed
    except msgspec.DecodeError as error:
        raise input_error(error) from None
    except UnicodeDecodeError as error:
        raise InputError("malformed", "body", str(error), "UTF-8") from None
    except RecursionError:
        raise InputError("malformed", "body", "nested too deeply", "one JSON object") from None


def _column(answers: list[dict[str, Any]], name: str) -> list[Scalar]:
    if name == "release":
        return [answer["model"]["release"] for answer in answers]
    if name == "degraded":
        return [",".join(answer["degraded"]) for answer in answers]
    return [answer[name] for answer in answers]
