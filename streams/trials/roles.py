"""Who is compared with whom, as the journal of roles says, and what a trial enters there.

Every call may block on the disk: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from streams.trials.comparison import Arm, Roster
from tidemill.registry import Registry
from tidemill.roles import RoleChange, Standings

PENDING = "pending"
"""The field of the side hash that holds a change on its way into the journal."""


class Pending(msgspec.Struct, frozen=True):
    """A change of roles that was decided against this champion, and has to be entered once."""

    change: RoleChange
    champion: str

    def encode(self) -> bytes:
        """As it lies in the store."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def found_in(cls, side: Mapping[str, bytes]) -> Pending | None:
        """The one in a side hash, if there is any."""
        data = side.get(PENDING)
        return msgspec.msgpack.decode(data, type=cls) if data else None


class TrialRoles:
    """The roles of one schema."""

    def __init__(self, registry: Registry, schema: str) -> None:
        self._registry, self._schema = registry, schema

    def standings(self) -> Standings:
        """What every release is. Raises ArtifactError when the journal is damaged."""
        return self._registry.standings()

    def roster(self, standings: Standings, answering: str) -> Roster:
        """Champion and arms; `answering` is the release whose learner publishes.

        One that was published and catches up may be given up: until it has taken over, the one
        that answers is compared. One that was promoted here has been compared already.
        """
        made = standings.champion(self._schema)
        champion = made.release if made else ""
        if answering and not standings.watched(self._schema):
            champion = answering
        watched = standings.watched(self._schema, answering)
        arms = (
            Arm(name, standings.share(name), name == watched)
            for name in standings.challengers(self._schema, answering)
        )
        return Roster(champion, tuple(arms))

    def enter(self, pending: Pending) -> bool:
        """Enter a change unless it was entered already; False when it is out of date.

        It is when somebody has given a role to those it is about meanwhile. Raises OSError, and
        ArtifactError when the journal is damaged.
        """
        entered = self._registry.enter(partial(self._decided, pending))
        return entered is not None or pending.change in self._registry.standings().changes

    def _decided(self, pending: Pending, standings: Standings) -> RoleChange | None:
        change, champion = pending.change, standings.champion(self._schema)
        if change in standings.changes:
            return None  # by a process that was killed before it could note so
        # Who goes by its own fault goes, also while another champion catches up.
        against = change.action in ("promoted", "rolled_back")
        if against and (champion is None or champion.release != pending.champion):
            return None
        if change.action in ("rolled_back", "unwatched"):
            stands = standings.watched(self._schema, pending.champion) == change.release
        elif change.action == "challenger":
            stands = standings.share(change.release) > 0
        else:
            stands = standings.role(change.release) == "challenger"
        return change if stands else None
