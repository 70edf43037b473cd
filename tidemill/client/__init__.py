"""A typed client of the scoring api: `Client`, and `AsyncClient` for asyncio. Needs httpx."""

try:
    import httpx as _httpx  # noqa: F401 - asked for here, so that what is missing is said at once
except ModuleNotFoundError:
    raise ImportError(
        "tidemill.client: found no httpx; allowed: an installation with it "
        "(pip install 'tidemill[client]')"
    ) from None

from tidemill.client.answers import (
    Answer,
    Explanation,
    LoggedPrediction,
    Models,
    ModelVersion,
    Readiness,
)
from tidemill.client.asynchronous import AsyncClient
from tidemill.client.errors import (
    BadAnswer,
    ClientError,
    Conflict,
    InvalidRequest,
    NoAnswer,
    NotAllowed,
    NotFound,
    RateLimited,
    Refusal,
    ServerFailed,
)
from tidemill.client.options import Options
from tidemill.client.outcome import Outcome
from tidemill.client.retry import Retry
from tidemill.client.synchronous import Client

__all__ = [
    "Answer",
    "AsyncClient",
    "BadAnswer",
    "Client",
    "ClientError",
    "Conflict",
    "Explanation",
    "InvalidRequest",
    "LoggedPrediction",
    "ModelVersion",
    "Models",
    "NoAnswer",
    "NotAllowed",
    "NotFound",
    "Options",
    "Outcome",
    "RateLimited",
    "Readiness",
    "Refusal",
    "Retry",
    "ServerFailed",
]
