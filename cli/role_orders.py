"""The releases and their roles for the api: what it lists, and the orders that it takes."""

from __future__ import annotations

from typing import Any

from api.ports import RoleOrder
from batch.publish import orders
from batch.publish.orders import Order
from tidemill.clock import Clock
from tidemill.errors import ArtifactError
from tidemill.registry import Registry
from tidemill.roles import RoleChange, Standings
from tidemill.wire import Announcement


class RegistryOrders:
    """`RoleOrders` on the registry: the same orders that `tidemill models` gives."""

    def __init__(self, registry: Registry, schema: str, learner: str, clock: Clock) -> None:
        self._registry, self._schema = registry, schema
        self._learner, self._clock = learner, clock

    def releases(self) -> list[dict[str, Any]]:
        """Every release, oldest first; `problem` says what is wrong with a damaged one."""
        standings = self._registry.standings()
        return [self._listed(name, standings) for name in self._registry.names()]

    def changes(self, release: str | None = None) -> list[RoleChange]:
        """Every change of role, oldest first; of one release if it is named."""
        changes = self._registry.standings().changes
        return [c for c in changes if release is None or release in (c.release, c.instead_of)]

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

    def _listed(self, name: str, standings: Standings) -> dict[str, Any]:
        found = {
            "release": name, "role": standings.role(name) or "", "share": standings.share(name)
        }  # fmt: skip
        try:
            manifest = self._registry.manifest(name)
        except ArtifactError as error:
            return found | {"problem": str(error)}
        return found | {
            "created_ms": manifest.created_ms, "rows": manifest.rows, "schema": manifest.schema,
            "metrics": manifest.metrics, "run": manifest.run, "dataset": manifest.dataset,
            "parent": manifest.parent, "forced": manifest.forced,
            "signed_by": self._registry.signed_by(name),
        }  # fmt: skip


def _order(order: RoleOrder) -> Order:
    return Order(order.by, order.now_ms, order.why, order.force)
