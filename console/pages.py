"""The console's files as one ASGI app: types, cache headers and a Content-Security-Policy.

Mounted at ``/console/`` beside the api; the page fetches ``../v1/status`` once a second and
``../v1/jobs`` (``tidemill.jobs.JobsReport``) every two.

The answer of ``GET /v1/status`` (times are milliseconds since the epoch; ``*_ms`` values inside
``latency_ms`` and ``label_to_weights_ms`` are durations)::

    {"project": "flights", "now_ms": 1700000000000,
     "model": {"release": "r0001", "snapshot": 12, "examples": 12345, "adopted_ms": 1700000000000,
               "swaps": [{"time_ms": 1700000000000, "release": "r0001", "snapshot": 1}]},
     "api": {"requests_total": 9, "failed_total": 0, "latency_ms": {"p50": 2.1, "p99": 9.8},
             "label_to_weights_ms": {"p50": 310.0, "p99": 900.0}, "queue_depth": 0,
             "series": [{"time_ms": 1700000000000, "scores_per_second": 812.0,
                         "p50_ms": 2.1, "p99_ms": 9.8}]},
     "worker": {"alive": true, "seen_ms": 1700000000000,
                "series": [{"time_ms": 1700000000000, "event_time_ms": 1367366400000,
                            "events_per_second": 3100.0, "examples_per_second": 790.0,
                            "lag": {"events": 0, "updates": 0, "join": 0, "learn": 0,
                                    "archive": 0},
                            "auc": {"service": 0.78, "release": 0.77},
                            "log_loss": {"service": 0.45, "release": 0.46},
                            "release": "r0001", "snapshot": 12}],
                "quality": {"task": "binary", "examples": 12345, "since_ms": 1367366400000,
                            "now_ms": 1368366400000, ...},
                "counts": {"events_read": 0, "events_applied": 0, "dead_letters": 0,
                           "predictions": 0, "labels_joined": 0, "examples": 0,
                           "bad_cases": 0}},
     "bad_cases": [{"time_ms": 1700000000000, "key": "2013-05-01|UA|1545|EWR",
                    "reason": "confident_wrong", "score": 0.91, "label": 0,
                    "release": "r0001", "snapshot": 12, "features": {"name": 0.5}}]}

- ``swaps`` holds release changes only, oldest first; a new snapshot of one release is no swap.
- Both ``series`` are oldest first, one point a second, the last 600.
- ``quality`` is the document of ``GET /v1/quality``, described in the OpenAPI document: its
  ``"sliding"``, ``"decayed"``, ``"maturity"``, ``"buckets"``, ``"slices"``, ``"experts"`` and
  ``"drift"``; absent before the worker knows of any. A regression has ``mae`` and ``rmse`` where
  others have ``auc`` and ``log_loss``, in the ``series`` too.
- ``bad_cases`` is newest first, at most 20; a missing feature is ``null``.
- Anything not known yet is ``null`` (``auc``, ``log_loss``, percentiles, ``model`` fields before
  the first release) or an empty list; the page then says what it waits for.
"""

from os import PathLike, stat_result
from pathlib import Path, PurePath

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

# Said here because the system's table of types differs between machines, and a browser that is
# told not to sniff refuses a module served as text/plain.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
PLAIN = "text/plain; charset=utf-8"

# Vendored paths carry their version, so their content never changes; ours are checked by ETag.
CACHE_VENDOR = "public, max-age=31536000, immutable"
CACHE_OWN = "no-cache"


class ConsoleFiles(StaticFiles):
    """Static files with the console's headers on every answer."""

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Answer with one file (or 304 where the browser's copy is current)."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        path = PurePath(full_path)
        headers = response.headers
        if response.status_code != 304:
            headers["content-type"] = MEDIA_TYPES.get(path.suffix, PLAIN)
        headers["cache-control"] = CACHE_VENDOR if "vendor" in path.parts else CACHE_OWN
        headers["content-security-policy"] = CONTENT_SECURITY_POLICY
        headers["x-content-type-options"] = "nosniff"
        headers["referrer-policy"] = "no-referrer"
        return response


def console_app() -> ConsoleFiles:
    """Build the ASGI app that serves the page; mount it at ``/console``.

    Raises ``RuntimeError`` when the package was installed without its ``static`` folder.
    """
    return ConsoleFiles(directory=STATIC, html=True)
