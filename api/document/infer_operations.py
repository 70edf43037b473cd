"""The OpenAPI operations of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

from api.document.operations import Body, Json, Operation, parameter, reference
from api.resources.tensors import InputTensors
from tidemill.declaration import Project
from tidemill.json_schemas import request_example

_TENSOR: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array"},
    },
    "required": ["name", "datatype", "shape"],
}
_ANSWER: Json = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["model_name", "model_version", "outputs"],
}
_METADATA: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["name", "platform", "inputs", "outputs"],
}
_ERROR = reference("InferenceError")
_OBJECT: Json = {"type": "object"}
_REFUSED = {"error": "amount.shape: found [2, 2]; allowed: [rows] or [rows, 1]"}


def infer_operations(project: Project) -> list[Operation]:
    """Health, metadata and inference, with and without a version."""
    shared: dict[str, Any] = {"tag": "inference", "refused_as": _ERROR, "refused_example": _REFUSED}
    name, version = _name(project), _version()
    model, versioned = "/v2/models/{model}", f"/v2/models/{project.name}/versions/{{version}}"
    ready: dict[int, list[str]] = {400: []}
    found = [
        Operation("get", "/v2", "The server's metadata", answer=_OBJECT,
                  example={"name": f"tidemill/{project.name}", "version": "0.1.0",
                           "extensions": []}, free=True, **shared),
        Operation("get", "/v2/health/live", "Is the server alive?", answer=_OBJECT,
                  example={"live": True}, free=True, **shared),
        Operation("get", "/v2/health/ready", "Can it score?", answer=_OBJECT,
                  example={"ready": True}, free=True, refusals=ready, **shared),
    ]  # fmt: skip
    for path, parameters in ((model, (name,)), (versioned, (version,))):
        found += [
            Operation("get", path, "The model's inputs and outputs", answer=_METADATA,
                      example=None, parameters=parameters, refusals={404: []}, **shared),
            Operation("get", f"{path}/ready", "Can the model score?", answer=_OBJECT,
                      example={"name": project.name, "ready": True}, parameters=parameters,
                      refusals={**ready, 404: []}, free=True, **shared),
            Operation("post", f"{path}/infer", "Score the rows of the inputs", answer=_ANSWER,
                      example=_answer(project), parameters=parameters, body=_body(project),
                      description="Tensors are named by the request's fields, one row for each "
                      "request. The binary tensor data extension is taken for inputs.",
                      refusals={400: [], 404: [], 413: [], 503: []}, **shared),
        ]  # fmt: skip
    return found


def _name(project: Project) -> Json:
    return parameter(
        "path", "model", "The project's name", {"type": "string", "enum": [project.name]},
        project.name,
    )  # fmt: skip


def _version() -> Json:
    return parameter("path", "version", "The release that answers", {"type": "string"}, "r0003")


def _body(project: Project) -> Body:
    row = request_example(project.request)
    inputs = [
        {"name": each["name"], "datatype": each["datatype"], "shape": [2],
         "data": [row[each["name"]]] * 2}
        for each in InputTensors(project.request.columns).metadata()
    ]  # fmt: skip
    return Body(reference("InferRequest"), {"two": {"id": "42", "inputs": inputs}})


def _answer(project: Project) -> Json:
    outputs = [{"name": "score", "datatype": "FP64", "shape": [2], "data": [0.73, 0.73]}]
    return {
        "model_name": project.name, "model_version": "r0003", "id": "42", "outputs": outputs
    }  # fmt: skip
