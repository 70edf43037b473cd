"""Some requests are traced: whose caller says so, and a share of the rest."""

from __future__ import annotations

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import StatusCode

from api.http.app import create_app
from api.measuring.tracing import Tracing

SCORE = "/v1/score"
TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
SAMPLED = f"00-{TRACE:032x}-{PARENT:016x}-01".encode()
NOT_SAMPLED = SAMPLED[:-2] + b"00"


class Traced:
    """A service whose traces are kept; a share of 0.5, drawn by hand."""

    def __init__(self, served, call) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.drawn = 0.9
        tracing = Tracing(provider.get_tracer("test"), 0.5, lambda: self.drawn)
        served.service.tracing = tracing
        served.service.measurements.groups = tracing.groups
        self.world, self.call = served, type(call)(create_app(served.service))

    async def post(self, body: bytes, traceparent: bytes | None = None, path: str = SCORE):
        """One call, with a traceparent or without."""
        headers = [] if traceparent is None else [(b"traceparent", traceparent)]
        return await self.call("POST", path, body, headers=headers)

    @property
    def spans(self) -> dict[str, object]:
        """What was traced, by name."""
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def traced(served, call) -> Traced:
    """A traced service with a release."""
    return Traced(served, call)


@pytest.fixture
def body(request_body) -> bytes:
    """A request that can be scored, as JSON."""
    return msgspec.json.encode(request_body)


async def test_a_request_its_features_and_its_model_are_spans(traced, body):
    """Both stages lie within the request, one after the other, and are its children."""
    reply = await traced.post(body, SAMPLED)
    request, features, model = (traced.spans[name] for name in ("score", "features", "model"))
    assert reply.json["prediction_id"] == request.attributes["tidemill.prediction_id"]
    assert (TRACE, PARENT) == (request.context.trace_id, request.parent.span_id)
    for stage in (features, model):
        assert request.context.span_id == stage.parent.span_id
        assert {"tidemill.group_rows": 1} == dict(stage.attributes)
    assert features.start_time <= features.end_time <= model.start_time <= model.end_time


async def test_the_caller_decides(traced, body):
    """One that is not traced further up is not traced here, whatever is drawn."""
    traced.drawn = 0.0
    await traced.post(body, NOT_SAMPLED)
    assert {} == traced.spans


@pytest.mark.parametrize(("drawn", "expected"), [(0.4, 3), (0.6, 0)])
async def test_a_share_of_the_others_is_traced(traced, body, drawn, expected):
    """A request without a traceparent begins a trace of its own."""
    traced.drawn = drawn
    await traced.post(body)
    spans = traced.spans
    assert expected == len(spans)
    assert not spans or spans["score"].parent is None


async def test_a_traceparent_that_is_none_is_as_if_there_were_none(traced, body):
    """W3C Trace Context, section 3.2.2: it is not an error of the request."""
    traced.drawn = 0.0
    assert 200 == (await traced.post(body, b"zz" + SAMPLED[2:])).status
    assert traced.spans["score"].parent is None


async def test_a_refused_request_is_an_error_without_its_text(traced):
    """The name of the error is enough: its text may hold what the caller sent."""
    assert 400 == (await traced.post(b"{secret", SAMPLED)).status
    (span,) = traced.spans.values()
    assert (StatusCode.ERROR, "InputError") == (span.status.status_code, span.status.description)
    assert () == span.events


async def test_a_batch_is_one_trace(traced, request_body):
    """With the group that its first prediction was scored in."""
    requests = msgspec.json.encode({"requests": [request_body] * 3})
    await traced.post(requests, SAMPLED, "/v1/score:batch")
    assert {"score_batch", "features", "model"} == traced.spans.keys()
    assert {"tidemill.group_rows": 3} == dict(traced.spans["model"].attributes)


async def test_nothing_is_noted_where_nobody_traces(served, call, request_body):
    """Without tracing a group leaves no times behind."""
    await call.post(SCORE, request_body)
    assert served.service.measurements.groups is None
