"""The models beside the champion: which there are, and which of them answers whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from zlib import crc32

import structlog

from api.adopting.adoption import Adoption
from api.adopting.model import ModelSlot, ServedModel
from tidemill.declaration import Project
from tidemill.roles import Standings
from tidemill.wire import Announcement

_WHOLE = 2**32
_SEPARATOR = "\x1f"
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Arm:
    """A challenger: its model, and the share of the requests that it answers (0: a shadow)."""

    release: str
    share: float
    slot: ModelSlot
    adoption: Adoption

    @property
    def role(self) -> Literal["shadow", "canary"]:
        """What it is called."""
        return "canary" if self.share > 0 else "shadow"


class Draw:
    """Who gets a canary: a number from 0 up to 1, always the same for one value of an entity."""

    def __init__(self, project: Project) -> None:
        entities = {entity.name: entity.keys for entity in project.entities}
        first = next(iter(entities), "")
        self._salt = f"{project.name}{_SEPARATOR}"
        self._keys = entities.get(project.serving.sticky or first, project.label.key)

    def __call__(self, request: Any, prediction_id: str) -> float:
        """The request's number; without a value to go by it is drawn anew each time."""
        values = [getattr(request, key) for key in self._keys]
        if not values or None in values:
            values = [prediction_id]
        text = self._salt + _SEPARATOR.join(map(str, values))
        return crc32(text.encode()) / _WHOLE


class Arms:
    """The challengers of one schema, as the roles and the store say; looked up, never waited for.

    `challengers` and `canaries` are exchanged whole. A canary answers the draws below its bound and
    not below that of the one before it, in the order in which they were set beside the champion:
    so a raised share keeps those who had it.
    """

    def __init__(
        self,
        schema: str,
        standings: Callable[[], Standings],
        make: Callable[[str], Arm],
        answering: Callable[[], str],
    ) -> None:
        """`standings` may block on the disk; `make` gives a release's arm, which has no model.

        `answering` is the release that answers now, as the champion or until that has caught up.
        """
        self.schema = schema
        self._standings, self._make, self._answering = standings, make, answering
        self.challengers: tuple[Arm, ...] = ()
        self.canaries: tuple[tuple[float, Arm], ...] = ()

    def of(self, draw: float) -> Arm | None:
        """The canary that answers a draw, None for the champion."""
        for bound, arm in self.canaries:
            if draw < bound:
                return arm
        return None

    def models(self) -> list[tuple[Arm, ServedModel]]:
        """The challengers that have a model, with the one they have now."""
        found = [(arm, arm.slot.current) for arm in self.challengers]
        return [(arm, model) for arm, model in found if not model.is_prior]

    def described(self) -> list[dict[str, Any]]:
        """Every challenger for the status; without a model, snapshot and offset are null."""
        found = []
        for arm in self.challengers:
            model = arm.slot.current
            has = not model.is_prior
            found.append({
                "release": arm.release, "role": arm.role, "share": arm.share,
                "snapshot": model.snapshot if has else None,
                "offset": model.offset if has else None,
                "examples": model.examples, "adopted_ms": model.adopted_ms if has else None,
            })  # fmt: skip
        return found

    def note(self, announcement: Announcement) -> None:
        """Pass on what a challenger's snapshot says of itself."""
        for arm in self.challengers:
            arm.adoption.note(announcement)

    async def look(self) -> None:
        """Set beside the champion who is to be there, each with its newest model; never raises."""
        try:
            standings = await asyncio.to_thread(self._standings)
            self._settle(standings)
        except Exception as error:  # those that are there stay
            _LOG.warning("challengers_unknown", error=str(error) or repr(error))
        for arm in self.challengers:
            try:
                await arm.adoption.adopt_newest()
            except Exception as error:  # one that cannot be adopted must not cost the others
                _LOG.exception("challenger_failed", release=arm.release, exc_info=error)

    def _settle(self, standings: Standings) -> None:
        known = {arm.release: arm for arm in self.challengers}
        arms = []
        for release in standings.challengers(self.schema, self._answering()):
            arm = known.get(release) or self._make(release)
            share = standings.share(release)
            arms.append(arm if arm.share == share else replace(arm, share=share))
        if (found := tuple(arms)) != self.challengers:
            self.challengers, self.canaries = found, _bounds(found)
            _LOG.info("challengers", releases={arm.release: arm.share for arm in found})


def _bounds(arms: Sequence[Arm]) -> tuple[tuple[float, Arm], ...]:
    """The canaries, each with the draw below which it answers; no more than there are requests."""
    bounds, bound = [], 0.0
    for arm in arms:
        if arm.share > 0:
            bound = min(1.0, bound + arm.share)
            bounds.append((bound, arm))
    return tuple(bounds)
