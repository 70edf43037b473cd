"""The releases over HTTP: what each is for, and an operator's orders about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
import structlog

from api.http.call import Call
from api.http.errors import Problem, Refused, refuse_conflict, refuse_missing
from api.ports import RoleOrder, RoleOrders
from features.decoding import input_error
from tidemill.bus import Producer
from tidemill.clock import Clock
from tidemill.errors import ArtifactError, BusUnavailable, InputError
from tidemill.roles import RoleChange
from tidemill.topics import MODELS

ANNOUNCE_SECONDS = 5.0
ORDERS = ("promote", "rollback", "challenge", "retire")
_SHOWN_CHANGES = 100
_PATH = "/v1/models/"
_ENCODE = msgspec.json.Encoder().encode
_LOG = structlog.get_logger()

Found = TypeVar("Found")
Who = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]


class OrderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order about a release: who wants it and why; `force` also for one that was retired."""

    by: Who
    why: Why
    force: bool = False


class ChallengeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Set a release beside the champion: `share` of the requests it answers, 0 for a shadow."""

    by: Who
    why: Why
    share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    force: bool = False


class RetireBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take a release out for good: who wants it and why."""

    by: Who
    why: Why


class ModelsView(msgspec.Struct, frozen=True):
    """The releases, oldest first, the one that answers, and the newest changes of their roles."""

    champion: str | None
    releases: list[dict[str, Any]]
    changes: list[RoleChange]


class ModelView(msgspec.Struct, frozen=True):
    """One release, and every change of its role."""

    release: dict[str, Any]
    changes: list[RoleChange]


class OrderDone(msgspec.Struct, frozen=True):
    """What an order changed, nothing where nothing was to be done.

    `announced` is false where the broker did not take the announcement: every process finds the
    change by itself, within seconds.
    """

    change: RoleChange | None
    announced: bool


class ModelRoutes:
    """Answers the routes about releases; everything that blocks runs in a thread."""

    def __init__(
        self,
        orders: Callable[[], RoleOrders | None],
        champion: Callable[[], str | None],
        producer: Producer,
        clock: Clock,
    ) -> None:
        """`orders` gives what takes them for the declaration that serves; `champion` may block."""
        self._orders, self._champion = orders, champion
        self._producer, self._clock = producer, clock
        self._order_body = msgspec.json.Decoder(OrderBody)
        self._challenge_body = msgspec.json.Decoder(ChallengeBody)
        self._retire_body = msgspec.json.Decoder(RetireBody)

    async def listing(self, _: Call) -> bytes:
        """Every release with its role."""
        orders = self._taken()
        return _ENCODE(
            await _blocking(
                lambda: ModelsView(
                    self._champion(), orders.releases(), orders.changes()[-_SHOWN_CHANGES:]
                )
            )
        )

    async def show(self, call: Call) -> bytes:
        """One release."""
        orders, name = self._taken(), call.path.removeprefix(_PATH)
        if name.rpartition(":")[2] in ORDERS:  # the path of an order looks like a name
            problem = Problem("method_not_allowed", "method", "GET", "POST")
            raise Refused(405, problem, ((b"allow", b"POST"),))

        def look() -> tuple[list[dict[str, Any]], list[RoleChange]]:
            found = [each for each in orders.releases() if each["release"] == name]
            return found, orders.changes(name)

        found, changes = await _blocking(look)
        if not found:
            raise refuse_missing("no_release", "release", repr(name[:80]), "one of GET /v1/models")
        return _ENCODE(ModelView(found[0], changes))

    async def promote(self, call: Call) -> bytes:
        """Make a release the champion."""
        orders = self._taken()
        return await self._carry_out(call, self._ordered(call), orders.promote)

    async def roll_back(self, call: Call) -> bytes:
        """Let an older release take the champion's place."""
        orders = self._taken()
        return await self._carry_out(call, self._ordered(call), orders.roll_back)

    async def challenge(self, call: Call) -> bytes:
        """Set a release beside the champion."""
        orders = self._taken()
        body: ChallengeBody = _decoded(self._challenge_body, call.body)
        who, now_ms = _who(body.by, call), self._clock.now_ms()
        order = RoleOrder(who, body.why, now_ms, body.force, body.share)
        return await self._carry_out(call, order, orders.challenge)

    async def retire(self, call: Call) -> bytes:
        """Take a release out for good."""
        orders = self._taken()
        body: RetireBody = _decoded(self._retire_body, call.body)
        order = RoleOrder(_who(body.by, call), body.why, self._clock.now_ms())
        return await self._carry_out(call, order, orders.retire)

    def _ordered(self, call: Call) -> RoleOrder:
        body: OrderBody = _decoded(self._order_body, call.body)
        return RoleOrder(_who(body.by, call), body.why, self._clock.now_ms(), body.force)

    async def _carry_out(
        self, call: Call, order: RoleOrder, give: Callable[[str, RoleOrder], RoleChange | None]
    ) -> bytes:
        release = call.path.removeprefix(_PATH).rpartition(":")[0]
        change = await _blocking(lambda: give(release, order))
        announced = change is not None and await self._announced(change)
        if change is not None:
            _LOG.info("role_changed", **msgspec.to_builtins(change))
        return _ENCODE(OrderDone(change, announced))

    async def _announced(self, change: RoleChange) -> bool:
        announcement = await _blocking(lambda: self._taken().announcement(change))
        record = (announcement.learner.encode(), announcement.encode())
        try:
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await self._producer.send_many(MODELS, [record], 0)
        except (BusUnavailable, TimeoutError) as error:
            _LOG.warning("role_change_not_announced", error=str(error))
            return False
        return True

    def _taken(self) -> RoleOrders:
        orders = self._orders()
        if orders is None:
            raise refuse_missing("no_orders", "models", "a process without them", "another api")
        return orders


async def _blocking(call: Callable[[], Found]) -> Found:
    """In a thread; what is wrong with a release or the disk as the caller is to hear it."""
    try:
        return await asyncio.to_thread(call)
    except ArtifactError as error:
        allowed = "a release that is whole and signed"
        raise refuse_conflict("damaged_release", "release", str(error), allowed) from error
    except OSError as error:
        found = error.strerror or repr(error)
        raise Refused(
            503, Problem("disk_unavailable", "home", found, "a disk with room")
        ) from error


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise input_error(error) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError("malformed", "body", str(error)[:200], "one JSON object") from None


def _who(by: str, call: Call) -> str:
    """Who wants it, and the key that it came with."""
    return f"{by} (key {call.caller})" if call.caller else by
