"""One request on a hot route: its body, and what little of its head a route asks for."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.types import Scope

from tidemill.errors import InputError

Headers = list[tuple[bytes, bytes]]
_MOST_PARAMETERS = 16
_NOTHING: Mapping[str, str] = {}


class Call:
    """One request. What is not asked for is not parsed.

    `caller` is the id of the key that it came with, empty where no keys are declared; `owner` is
    whose that is, the same for a key and those it was rotated to, on hot routes alone.
    `answer_headers` begin with the content type, and a route may append to them; `traceparent` is
    the trace that the caller is in, None where it named none. `held` is for a route to say how many
    requests, labels or events the body held: each is one of the caller's quota.
    """

    __slots__ = (
        "_query", "answer_headers", "body", "caller", "held", "owner", "scope", "traceparent",
    )  # fmt: skip

    def __init__(self, scope: Scope, answer_headers: Headers, body: bytes = b"") -> None:
        self.scope, self.answer_headers, self.body = scope, answer_headers, body
        self.caller = self.owner = ""
        self.held = 1
        self.traceparent: bytes | None = None
        self._query: Mapping[str, str] | None = None

    @property
    def path(self) -> str:
        """The path as it was asked for, percent-decoded."""
        path: str = self.scope["path"]
        return path

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters. Raises InputError for more than 16, or one given twice."""
        if self._query is None:
            text = self.scope["query_string"]
            self._query = _parameters(text.decode("latin-1")) if text else _NOTHING
        return self._query

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name (in small letters), None where there is none."""
        for found, value in self.scope["headers"]:
            if found == name:
                return bytes(value)
        return None


def _parameters(text: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        found = f"more than {_MOST_PARAMETERS} parameters"
        raise InputError(
            "too_many_parameters", "query", found, f"at most {_MOST_PARAMETERS}"
        ) from None
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise InputError("repeated_parameter", "query", text[:80], "each parameter at most once")
    return parameters
