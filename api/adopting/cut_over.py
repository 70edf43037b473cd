"""Cut over to another declaration while serving: load, build and warm up beside, then one exchange.

A champion made for other features than those served is the signal. The project file is loaded
again; when it declares the release's schema, and the features in the store are as fresh as those
served, what serves is exchanged. Whatever is wrong with any of it, the old declaration goes on
serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from api.ports import Ports
from api.serving import Serving, warm_up
from features.plan import FeaturePlan, compile_plan
from tidemill.clock import Clock
from tidemill.errors import ArtifactError, BusUnavailable, TidemillError
from tidemill.roles import RoleChange
from tidemill.topics import ALERTS
from tidemill.wire import Alert

ALERT = "cut_over"
_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Exchange:
    """How the service is asked for what serves, for a new one of a plan, and to exchange it."""

    current: Callable[[], Serving]
    build: Callable[[FeaturePlan], Serving]
    adopt: Callable[[Serving], None]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A declaration that fits the champion, and how fresh its features must be."""

    serving: Serving
    wanted: dict[int, int]


class CutOver:
    """Looks whether the champion asks for another declaration; exchanges it when ready."""

    def __init__(self, ports: Ports, exchange: Exchange, clock: Clock) -> None:
        self._ports, self._exchange, self._clock = ports, exchange, clock
        self._alert: Alert | None = None
        self._prepared: _Prepared | None = None
        self._tried: tuple[str, object] | None = None
        self._noted = ""
        self.waiting = ""
        """Why a newer release of another schema is not served; empty when there is none."""

    async def look(self) -> None:
        """One look; what cannot be seen now is looked for again."""
        try:
            await self._note_serving()
            standings = await asyncio.to_thread(self._ports.registry.standings)
            champion = standings.champion()
            if champion is not None:
                await self._look_at(champion)
        except (TidemillError, OSError) as error:  # the next look sees more
            _LOG.warning("cut_over_waits", error=str(error))

    async def _look_at(self, champion: RoleChange) -> None:
        release, schema = champion.release, champion.schema
        served = self._exchange.current().schema
        if schema != served:  # the journal is not signed, the manifest is
            schema = (await asyncio.to_thread(self._ports.registry.manifest, release)).schema
        if schema == served:
            return await self._settle("the champion is of the schema served")
        if self._prepared is None or self._prepared.serving.schema != schema:
            self._prepared = await self._prepare(release, schema)
        if self._prepared is not None and await self._fresh(self._prepared):
            await self._cut_over(release, self._prepared.serving)

    async def _prepare(self, release: str, schema: str) -> _Prepared | None:
        """What the project file declares now, if that is what the release was made for."""
        wanted = await self._exchange.current().ports.read_progress()
        stamp = await asyncio.to_thread(self._ports.project_file.stamp)
        if self._tried == (release, stamp):
            return None
        self._tried = (release, stamp)
        try:
            serving = await asyncio.to_thread(self._build, release, schema)
        except Exception as error:  # whatever a project file does, it must not break serving
            text = str(error) if isinstance(error, TidemillError) else repr(error)
            await self._wait_for(text, alert=True)
            return None
        return _Prepared(serving, dict(wanted))

    def _build(self, release: str, schema: str) -> Serving:
        """Runs in a thread: the loop goes on answering."""
        project = self._ports.project_file.load()
        plan = compile_plan(project)
        served = self._exchange.current().project.name
        for what, found, allowed in (
            ("project", project.name, served),
            ("schema of the project file", plan.schema.hash, f"{schema}, that of {release}"),
        ):
            if found != allowed.split(",")[0]:
                raise ArtifactError(f"{what}: found {found}; allowed: {allowed}")
        serving = self._exchange.build(plan)
        warm_up(serving)
        return serving

    async def _fresh(self, prepared: _Prepared) -> bool:
        """True when its features have had every event that those served had when it was built."""
        applied = await prepared.serving.ports.read_progress()
        behind = sum(max(0, n - applied.get(p, 0)) for p, n in prepared.wanted.items())
        if behind:
            state = prepared.serving.plan.state
            await self._wait_for(
                f"feature state {state}: found {behind} events behind; allowed: as fresh as those "
                "served (its worker runs, after `tidemill backfill`)"
            )
        return not behind

    async def _cut_over(self, release: str, serving: Serving) -> None:
        await serving.adoption.adopt_newest()
        if serving.slot.current.is_prior:
            await self._wait_for(f"release {release}: refused, see the log", alert=True)
            self._prepared = None
            return
        before = self._exchange.current()
        self._exchange.adopt(serving)
        _LOG.info(
            "schema_served", schema=serving.schema, state=serving.plan.state, before=before.schema,
            release=serving.slot.current.release,
        )  # fmt: skip
        await self._settle(f"schema {serving.schema} serves")
        await self._note_serving()

    async def _note_serving(self) -> None:
        """Tell the store which declaration serves, once it answers with a model."""
        current = self._exchange.current()
        if current.schema != self._noted and not current.slot.current.is_prior:
            await current.ports.note_serving()
            self._noted = current.schema

    async def _wait_for(self, reason: str, alert: bool = False) -> None:
        """Go on with the old declaration and say why, once."""
        if reason == self.waiting:
            return
        self.waiting = reason
        _LOG.warning("cut_over_waits", reason=reason, serving=self._exchange.current().schema)
        if alert:
            now = self._clock.now_ms()
            began_ms = self._alert.began_ms if self._alert else now
            self._alert = Alert(ALERT, self._subject, "began", reason, now, began_ms)
            await self._send(self._alert)

    async def _settle(self, message: str) -> None:
        """Nothing waits any more."""
        self._prepared, self._tried, self.waiting = None, None, ""
        alert, self._alert = self._alert, None
        if alert is not None:
            now = self._clock.now_ms()
            await self._send(Alert(ALERT, alert.subject, "ended", message, now, alert.began_ms))

    async def _send(self, alert: Alert) -> None:
        try:
            await self._ports.producer.send_many(ALERTS, [(alert.subject.encode(), alert.encode())])
        except BusUnavailable as error:
            _LOG.warning("alert_not_sent", error=str(error))

    @property
    def _subject(self) -> str:
        return self._exchange.current().project.name
