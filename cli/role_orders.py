"""The releases and their roles for the api: what it lists, and the orders that it takes."""

from __future__ import annotations

from typing import Any

from api.ports import RoleOrder
from batch.publish import listing, orders
from batch.publish.orders import Order
from tidemill.clock import Clock
from tidemill.registry import Registry
from tidemill.roles import RoleChange
from tidemill.wire import Announcement


class RegistryOrders:
    """`RoleOrders` of one declaration on the registry: those that `tidemill models` gives."""

    def __init__(self, registry: Registry, schema: str, learner: str, clock: Clock) -> None:
        self._registry, self._schema = registry, schema
        self._learner, self._clock = learner, clock

    def releases(self) -> list[dict[str, Any]]:
        """Every release, oldest first; `problem` says what is wrong with a damaged one."""
        return listing.releases(self._registry)

    def changes(self, release: str | None = None) -> list[RoleChange]:
        """Every change of role, oldest first; of one release if it is named."""
        return listing.changes(self._registry, release)

    def promote(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Make it the champion."""
        return orders.promote(self._registry, release, _order(order))

    def roll_back(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Let it take the champion's place, which is out then."""
        return orders.roll_back(self._registry, self._schema, release, _order(order))

    def challenge(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Set it beside the champion."""
        return orders.challenge(self._registry, release, order.share, _order(order))

    def retire(self, release: str, order: RoleOrder) -> RoleChange | None:
        """Take it out for good."""
        return orders.retire(self._registry, self._schema, release, _order(order))

    def announcement(self, change: RoleChange) -> Announcement:
        """What tells every process to look at the roles."""
        now_ms = self._clock.now_ms()
        return self._registry.announcement(change.release, self._learner, now_ms)


def _order(order: RoleOrder) -> Order:
    return Order(order.by, order.now_ms, order.why, order.force)
