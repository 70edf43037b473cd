"""Where traces go: an OpenTelemetry collector (OTLP over HTTP), where one is declared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import tidemill
from api.measuring.tracing import Tracing
from tidemill.errors import SettingsError
from tidemill.settings import Settings

_FLUSH_SECONDS = 5.0


@asynccontextmanager
async def tracing_to(settings: Settings, project: str) -> AsyncIterator[Tracing | None]:
    """What makes traces and sends them behind the answers' backs; None without `settings.traces`.

    At the end what is left is sent. Raises SettingsError where OpenTelemetry is not installed.
    """
    if settings.traces is None:
        yield None
        return
    provider = _provider(settings.traces, project)
    try:
        tracer = provider.get_tracer("tidemill", tidemill.__version__)
        yield Tracing(tracer, settings.trace_share)
    finally:
        # Blocks until the collector has what is left, or does not answer.
        await asyncio.to_thread(provider.shutdown)


def _provider(address: str, project: str) -> Any:
    """The requests to be traced are chosen before; of what cannot be sent the oldest is dropped."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ImportError as error:
        raise SettingsError(
            f"TIDEMILL_TRACES: found an address, but {error.name} is not installed; allowed: with "
            "OpenTelemetry (pip install 'tidemill[otel]')"
        ) from None
    resource = Resource.create({"service.name": "tidemill-api", "service.namespace": project})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=address, timeout=_FLUSH_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
