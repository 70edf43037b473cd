"""Which release a learner is to be on, as the journal of roles says, and what it tells the journal.

Every call may block on the disk: call it in a thread.
"""

from __future__ import annotations

from functools import partial

import structlog

from learners.learner import Frozen
from learners.release import load_release, trained_to
from streams.learning import Place
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import TidemillError
from tidemill.registry import Registry
from tidemill.roles import RoleChange, Standings, is_order
from tidemill.wire import Announcement

BY = "worker"
_log = structlog.get_logger()


class Releases:
    """The releases of one schema, as one learner sees them."""

    def __init__(self, registry: Registry, project: Project, schema: str, clock: Clock) -> None:
        self._registry, self._project, self._clock = registry, project, clock
        self._schema = schema
        self._refused: set[RoleChange] = set()
        self._to_enter: dict[str, str] = {}  # given up, and why; not in the journal yet

    def wanted(self) -> RoleChange | None:
        """What made the champion, unless this learner has refused it; None without one."""
        self._enter_given_up()
        try:
            change = self._registry.standings().champion(self._schema)
        except TidemillError as error:
            _log.error("roles cannot be read", error=str(error))
            return None
        if change is None or change in self._refused:
            return None
        return change

    def refuse(self, change: RoleChange, why: str) -> None:
        """It cannot be used: not tried again until it is ordered anew."""
        self._refused.add(change)
        _log.error("release refused", release=change.release, error=why)

    def give_up(self, change: RoleChange, why: str) -> Announcement:
        """It could be used, but must not become champion: nor after a restart, nor for batch.

        What the journal does not take now, it gets when `wanted` is asked again. Returns what to
        announce.
        """
        self._refused.add(change)
        self._to_enter[change.release] = why
        self._enter_given_up()
        learner, now = self._project.learner.name, self._clock.now_ms()
        return self._registry.announcement(change.release, learner, now)

    def _enter_given_up(self) -> None:
        for release, why in list(self._to_enter.items()):
            decide = partial(self._given_up, release, why)
            try:
                self._registry.enter(decide)
            except (OSError, TidemillError) as error:
                _log.error("role change not entered", release=release, error=str(error))
                return
            del self._to_enter[release]

    def _given_up(self, release: str, why: str, standings: Standings) -> RoleChange | None:
        standing = standings.change(release)
        if standing is None or is_order(standing):
            return None  # what an operator has ordered of it meanwhile stands
        now = self._clock.now_ms()
        return RoleChange(release, "given_up", self._schema, now, by=BY, why=why)

    def load(self, name: str) -> Frozen:
        """What a learner starts from. Raises ArtifactError."""
        return load_release(self._registry, name, self._project)

    def trained_to(self, release: str) -> Place:
        """Where its learner goes on in the log of examples. Raises ArtifactError."""
        return Place(*trained_to(self._registry.manifest(release)))
