"""The client for code that waits for its answers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tidemill.client import asking
from tidemill.client.answers import Answer, LoggedPrediction, Models, Readiness
from tidemill.client.asking import Asking, Label, Wishes
from tidemill.client.connection import Connection, Key
from tidemill.client.errors import ClientError
from tidemill.client.options import Options

Result = TypeVar("Result")


class Client:
    """Calls the api at `url`; safe to use from several threads. Close it, or use it in a `with`.

    Calls raise ClientError: Refusal where the api says no, NoAnswer where nobody answers. What may
    pass (429, 502, 503, 504, a connection that breaks) is tried again as `options.retry` says, so
    that a call survives an api that is started again.
    """

    def __init__(
        self,
        url: str,
        key: Key | None = None,
        options: Options | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`key` is an API key or a bearer token, or a function that gives one for each call."""
        self._connection = Connection.to(url, key, options or Options())
        self._http = httpx.Client(transport=transport, **self._connection.settings)

    def __repr__(self) -> str:
        return f"Client({self._connection})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def score(
        self,
        request: Mapping[str, Any],
        explain: bool = False,
        max_staleness: int | str | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """The score of one request, with what each feature added if `explain`.

        Features older than `max_staleness` (ms, or a duration such as `5min`) do not count: the
        declared default head answers.
        """
        return self._ask(asking.score_one(request, Wishes(explain, max_staleness)), traceparent)

    def score_many(
        self,
        requests: Iterable[Mapping[str, Any]],
        explain: bool = False,
        max_staleness: int | str | None = None,
        traceparent: str | None = None,
    ) -> list[Answer]:
        """The scores of several requests in their order: one call, refused as a whole or not."""
        every = list(requests)
        if not every:
            return []
        return self._ask(asking.score_many(every, Wishes(explain, max_staleness)), traceparent)

    def send_labels(
        self,
        labels: Iterable[Label],
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> int:
        """Hand over outcomes; how many the broker has. However often it is tried they count once.

        `idempotency_key` names this call where it may be made again after a crash of the caller.
        """
        every = list(labels)
        return self._ask(asking.take_labels(every, idempotency_key), traceparent) if every else 0

    def send_events(
        self, events: Iterable[Mapping[str, Any]], traceparent: str | None = None
    ) -> int:
        """Hand over events; how many the broker has. By their ids they count once."""
        every = list(events)
        return self._ask(asking.take_events(every), traceparent) if every else 0

    def prediction(self, prediction_id: str) -> LoggedPrediction:
        """One prediction as it was logged, by the id of its answer."""
        return self._ask(asking.find_prediction(prediction_id))

    def models(self) -> Models:
        """The releases and their roles."""
        return self._ask(asking.list_models())

    def ready(self) -> Readiness:
        """Whether the service can answer in full; asked once, not again."""
        return self._ask(asking.ask_readiness())

    def _ask(self, what: Asking[Result], traceparent: str | None = None) -> Result:
        headers = self._connection.headers(what, traceparent)
        attempts = self._connection.attempts(what, time.monotonic())
        while True:
            try:
                return self._try(what, headers, attempts.left(time.monotonic()))
            except ClientError as error:
                if what.once:
                    raise
                pause = attempts.pause(error, time.monotonic())
            time.sleep(pause)

    def _try(self, what: Asking[Result], headers: dict[str, str], left: float) -> Result:
        try:
            response = self._http.request(**self._connection.request(what, headers, left))
        except httpx.HTTPError as error:
            raise self._connection.failure(error) from error
        return what.read(response.status_code, response.headers, response.content)
