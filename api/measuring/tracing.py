"""Traces of some requests, where they are asked for: the request, its features and the model.

What was not asked for costs nothing: a route is wrapped once, when the app is made, and a group of
requests notes its times only when somebody reads them.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from api.http.call import Call
from api.http.hot import HotRoute
from api.measuring.measurements import GroupTimes

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_GROUPS = 256  # a request looks for the times of its own right after it was answered
_SAMPLED_AT, _SAMPLED = 54, b"13579bdf"
_STAGES = ("features", "model")


class _Answered(msgspec.Struct):
    prediction_id: str = ""
    predictions: list[_Answered] = []


class Tracing:
    """Makes spans with an OpenTelemetry tracer; `share` of the requests that nobody else traces.

    A request whose `traceparent` says that it is traced is traced here too, and one whose says that
    it is not, is not (W3C Trace Context, section 3.2.2.5).
    """

    def __init__(
        self,
        tracer: Tracer,
        share: float,
        draw: Callable[[], float] = random.random,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer, self._share, self._draw, self._now_ns = tracer, share, draw, now_ns
        self._kind, self._extract = SpanKind.SERVER, TraceContextTextMapPropagator().extract
        self._decoder = msgspec.json.Decoder(_Answered)
        self.groups: deque[GroupTimes] = deque(maxlen=_GROUPS)
        """What the scorer notes, where these are the `groups` of its measurements."""

    def traced(self, route: HotRoute) -> HotRoute:
        """The same route, some of whose requests are traced."""
        handle = route.handle

        async def handled(call: Call) -> bytes:
            if not self._wanted(call.traceparent):
                return await handle(call)
            span = self._begin(route.name, call)
            with structlog.contextvars.bound_contextvars(trace_id=_trace_id(span)):
                try:
                    body = await handle(call)
                except Exception as error:
                    self._fail(span, error)
                    raise
            self._end(span, body)
            return body

        return replace(route, handle=handled)

    def _wanted(self, traceparent: bytes | None) -> bool:
        if traceparent is not None and len(traceparent) > _SAMPLED_AT:
            return traceparent[_SAMPLED_AT] in _SAMPLED
        return self._draw() < self._share

    def _begin(self, name: str, call: Call) -> Span:
        """The request's span; what the request writes to the log belongs to it from here on."""
        carried = {"traceparent": (call.traceparent or b"").decode("latin-1")}
        if (state := call.header(b"tracestate")) is not None:
            carried["tracestate"] = state.decode("latin-1")
        span = self._tracer.start_span(name, self._extract(carried), self._kind)
        place = span.get_span_context()
        call.traceparent = f"00-{place.trace_id:032x}-{place.span_id:016x}-01".encode()
        return span

    def _fail(self, span: Span, error: Exception) -> None:
        from opentelemetry.trace import Status, StatusCode

        # The text of an error may hold what the caller sent.
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        span.end()

    def _end(self, span: Span, body: bytes) -> None:
        prediction = self._prediction(body)
        if prediction:
            span.set_attribute("tidemill.prediction_id", prediction)
            self._add_stages(span, prediction)
        span.end()

    def _prediction(self, body: bytes) -> str:
        """The id of the first prediction in an answer, empty for an answer of another kind."""
        try:
            answered = self._decoder.decode(body)
        except msgspec.DecodeError:
            return ""
        first = answered.predictions[0] if answered.predictions else answered
        return first.prediction_id

    def _add_stages(self, span: Span, prediction: str) -> None:
        from opentelemetry.trace import set_span_in_context

        times = next((times for times in reversed(self.groups) if prediction in times.ids), None)
        if times is None:
            return
        context, rows = set_span_in_context(span), {"tidemill.group_rows": len(times.ids)}
        since = self._now_ns() - time.perf_counter_ns()
        nanoseconds = [since + int(moment * 1e9) for moment in times.moments]
        for place, stage in enumerate(_STAGES):
            began, ended = nanoseconds[2 * place : 2 * place + 2]
            own = self._tracer.start_span(stage, context, attributes=rows, start_time=began)
            own.end(ended)


def _trace_id(span: Any) -> str:
    return f"{span.get_span_context().trace_id:032x}"
