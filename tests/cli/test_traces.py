"""Traces reach a collector, and where none is declared nothing of OpenTelemetry is loaded."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cli.traces import tracing_to
from tidemill.errors import SettingsError
from tidemill.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Its address, and what was sent to it: paths and bodies."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        server.shutdown()
        thread.join()


async def test_spans_reach_the_collector(collector):
    """What is left is sent at the end; the project and the service are named."""
    address, received = collector
    async with tracing_to(Settings(traces=address, trace_share=1.0), "payments") as tracing:
        tracing._tracer.start_span("score").end()
    ((path, body),) = received
    assert "/v1/traces" == path
    for word in (b"tidemill-api", b"payments", b"score"):
        assert word in body


async def test_nothing_is_traced_where_nothing_is_declared():
    """None, and no client."""
    async with tracing_to(Settings(), "payments") as tracing:
        assert tracing is None


async def test_an_address_without_opentelemetry_is_a_mistake(monkeypatch):
    """The error says what to install, not the address, which may hold a password."""
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    settings = Settings(traces="https://me:secret@host/v1/traces")
    wanted = r"TIDEMILL_TRACES.*pip install 'tidemill\[otel\]'"
    with pytest.raises(SettingsError, match=wanted) as error:
        async with tracing_to(settings, "payments"):
            pass
    assert "secret" not in str(error.value) + repr(settings)


def test_nothing_of_opentelemetry_is_loaded_before_it_is_asked_for():
    """The clients we use may load it where it is installed; we do only for traces."""
    code = (
        "import sys, api.measuring.tracing, cli.traces; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "[]" == run.stdout.strip()
