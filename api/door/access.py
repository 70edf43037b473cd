"""Which scope a route asks for, and whether it answers beside the admin port; denied by default."""

from __future__ import annotations

from typing import NamedTuple

SCORE, LABEL, READ, ADMIN = "score", "label", "read", "admin"


class Rule(NamedTuple):
    """`scope` is what a caller's key must have, None for a route that anybody may ask.

    `public` routes answer on both ports, the others only on the admin port where there is one.
    """

    scope: str | None
    public: bool = True


_FREE, _REPORT = Rule(None), Rule(READ, public=False)
_PAGE = Rule(None, public=False)
_ORDER = Rule(ADMIN, public=False)
_EXACT = {
    ("GET", "/healthz"): _FREE,
    ("GET", "/readyz"): _FREE,
    ("GET", "/v1/problems"): _FREE,
    ("GET", "/v2"): _FREE,
    ("POST", "/v1/score"): Rule(SCORE),
    ("POST", "/v1/score:batch"): Rule(SCORE),
    ("POST", "/v1/labels"): Rule(LABEL),
    ("POST", "/v1/events"): Rule(LABEL),
    ("GET", "/v1/progress"): Rule(READ),
    ("GET", "/openapi.json"): Rule(READ),
    ("GET", "/v1/asyncapi.json"): Rule(READ),
    ("GET", "/docs"): Rule(READ),
}


def rule_of(method: str, path: str) -> Rule:
    """The rule of a route. One that is not named reads for GET and is an order for the others."""
    method = "GET" if method == "HEAD" else method
    found = _EXACT.get((method, path))
    if found is not None:
        return found
    if path.startswith("/v2/"):
        return _open_inference(method, path)
    if method == "GET":
        return _reading(path)
    # What is no order of ours the router refuses; on a free path everybody may hear that.
    return _FREE if _EXACT.get(("GET", path)) == _FREE else _ORDER


def _open_inference(method: str, path: str) -> Rule:
    if method == "POST" and path.endswith("/infer"):
        return Rule(SCORE)
    # What probes of a cluster ask says no more than whether it is ready.
    if path.startswith("/v2/health/") or path.endswith("/ready"):
        return _FREE
    return Rule(SCORE) if method == "GET" else _ORDER


def _reading(path: str) -> Rule:
    if path == "/console" or path.startswith("/console/"):
        return _PAGE  # files that everybody has; what they show is asked for with a key
    if path.startswith("/v1/features/"):
        return Rule(READ)
    if path.startswith("/v1/predictions/") and not path.endswith("/replay"):
        return Rule(READ)
    return _REPORT
