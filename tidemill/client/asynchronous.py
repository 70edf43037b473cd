"""The client for code under asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tidemill.client import asking
from tidemill.client.answers import Answer, LoggedPrediction, Models, Readiness
from tidemill.client.asking import Asking, Label, Wishes
from tidemill.client.connection import Connection, Key
from tidemill.client.errors import ClientError, NoAnswer
from tidemill.client.options import Options

Result = TypeVar("Result")


class AsyncClient:
    """As `Client`, for asyncio: many calls may wait at once. Close it, or use `async with`."""

    def __init__(
        self,
        url: str,
        key: Key | None = None,
        options: Options | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`key` is an API key or a bearer token, or a function that gives one for each call."""
        self._connection = Connection.to(url, key, options or Options())
        self._http = httpx.AsyncClient(transport=transport, **self._connection.settings)

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def score(
        self,
        request: Mapping[str, Any],
        explain: bool = False,
        max_staleness: int | str | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """See `Client.score`."""
        wishes = Wishes(explain, max_staleness)
        return await self._ask(asking.score_one(request, wishes), traceparent)

    async def score_many(
        self,
        requests: Iterable[Mapping[str, Any]],
        explain: bool = False,
        max_staleness: int | str | None = None,
        traceparent: str | None = None,
    ) -> list[Answer]:
        """See `Client.score_many`."""
        every, wishes = list(requests), Wishes(explain, max_staleness)
        return await self._ask(asking.score_many(every, wishes), traceparent) if every else []

    async def send_labels(
        self,
        labels: Iterable[Label],
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> int:
        """See `Client.send_labels`."""
        every = list(labels)
        if not every:
            return 0
        return await self._ask(asking.take_labels(every, idempotency_key), traceparent)

    async def send_events(
        self, events: Iterable[Mapping[str, Any]], traceparent: str | None = None
    ) -> int:
        """See `Client.send_events`."""
        every = list(events)
        return await self._ask(asking.take_events(every), traceparent) if every else 0

    async def prediction(self, prediction_id: str) -> LoggedPrediction:
        """See `Client.prediction`."""
        return await self._ask(asking.find_prediction(prediction_id))

    async def models(self) -> Models:
        """See `Client.models`."""
        return await self._ask(asking.list_models())

    async def ready(self) -> Readiness:
        """See `Client.ready`."""
        return await self._ask(asking.ask_readiness())

    async def _ask(self, what: Asking[Result], traceparent: str | None = None) -> Result:
        headers = self._connection.headers(what, traceparent)
        attempts = self._connection.attempts(what, time.monotonic())
        while True:
            try:
                return await self._try(what, headers, attempts.left(time.monotonic()))
            except ClientError as error:
                if what.once:
                    raise
                pause = attempts.pause(error, time.monotonic())
            await asyncio.sleep(pause)

    async def _try(self, what: Asking[Result], headers: dict[str, str], left: float) -> Result:
        seconds = min(left, self._connection.options.timeout_seconds)
        try:
            # The whole attempt; httpx measures each step of it.
            async with asyncio.timeout(seconds):
                asked = self._connection.request(what, headers, left)
                response = await self._http.request(**asked)
        except TimeoutError as error:
            problem = f"no answer within {seconds:.3g} s"
            raise NoAnswer(repr(self._connection.url), problem, True) from error
        except httpx.HTTPError as error:
            raise self._connection.failure(error) from error
        return what.read(response.status_code, response.headers, response.content)
