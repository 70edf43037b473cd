"""Examples → learners beside the champion, all compared with it; better ones take its place.

Every arm learns from all traffic, whoever answered it. Their snapshots, what is known of each pair
and the decision under way lie behind one fence, so that a crash repeats or loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from learners.snapshot import Newest, Snapshot, digest, name_beside
from streams.alerts import Alerts
from streams.context import Context
from streams.fencing import OFFSET, Ownership
from streams.learning import Learning, Placed, placed_in
from streams.origins import Origins
from streams.quarantine import Halt
from streams.releases import Releases
from streams.snapshots import Snapshots, newest_snapshot
from streams.step import Records, Reopen
from streams.trials.comparison import Arm, Comparison, Roster
from streams.trials.roles import PENDING, Pending, TrialRoles
from streams.trials.told import ALERTS_OF, report
from tidemill.durations import DAY_MS
from tidemill.errors import ArtifactError, DeclarationError, TidemillError
from tidemill.registry import Registry
from tidemill.roles import BY_TRIAL, Action, RoleChange
from tidemill.topics import EXAMPLES, MODELS
from tidemill.wire import Announcement

LOOK_MS = 5_000  # a change of roles whose announcement went to another worker is found so late
_KEPT_MS = DAY_MS  # so long the last snapshot of an arm that has gone can be started from
_log = structlog.get_logger()


@dataclass
class _Hosted:
    """The learner of one arm."""

    learning: Learning
    snapshots: Snapshots
    unsaved: bool


@dataclass(frozen=True, slots=True)
class _Standing:
    """Who stands beside whom, whether the champion has taken over, and whether it may learn now."""

    roster: Roster = Roster("")
    taken_over: bool = False
    paused: bool = False


class Challengers:
    """Hosts the learners of all arms of one champion, and the comparison with it."""

    name = "challengers"
    kinds = (EXAMPLES,)

    def __init__(
        self, context: Context, registry: Registry, alerts: Alerts, interval_ms: int
    ) -> None:
        """Publishes snapshots at most every `interval_ms`."""
        project = context.plan.project
        self._project, self._schema = project, context.plan.schema
        self._names, self._store, self._producer = context.names, context.store, context.producer
        self._clock, self._alerts, self._registry = context.clock, alerts, registry
        releases = Releases(registry, project, self._schema.hash, context.clock)
        # What examples say of their producers and labels stops the champion's learner, for all.
        self._origins = Origins(context, releases, project.breaker.of_learner())
        self._roles = TrialRoles(registry, self._schema.hash)
        self._interval_ms = interval_ms
        self._owned: Ownership | None = None
        self._is_open = self._news = self._unsaved = False
        self._hosted: dict[str, _Hosted] = {}
        self._refused: set[str] = set()
        self._standing = _Standing()
        self._pending: Pending | None = None
        self._to_announce: dict[str, Announcement] = {}
        self._saved_ms = self._looked_ms = 0
        self._comparison = self._new_comparison()

    @property
    def hosted(self) -> Mapping[str, Learning]:
        """The learners that are taught now, by release."""
        return {release: each.learning for release, each in self._hosted.items()}

    def wake(self) -> None:
        """A release got another role: look at the journal at the next opportunity."""
        self._news = True

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Enter what was decided, then take up every arm where its snapshot left off."""
        if claim or self._owned is None:
            self._owned = Ownership(self._store, self._names, self.name, partition)
        await self._owned.open(claim)
        self._forget()
        side = await self._store.side(self._owned.side)
        self._pending = Pending.found_in(side)
        if self._pending is not None:
            await self._carry_out(self._pending)
        self._comparison.restore(side, self._owned.offset(EXAMPLES))
        found = await self._look()
        if found is not None:  # else nothing is dropped: who stands where is not known now
            self._standing = found
            self._comparison.follow(found.roster, self._decided())
        await self._host(self._to_host())
        if not self._comparison.is_begun:
            self._comparison.offset = max(self._comparison.offset, await self._learned_to())
        self._unsaved = self._unsaved or self._comparison.is_stale
        self._is_open, self._news = True, False
        places = [each.learning.offset for each in self._hosted.values()]
        return {EXAMPLES: min([*places, self._comparison.offset])}

    async def process(self, partition: int, records: Records) -> None:
        """Teach every arm one micro-batch, and compare.

        Not while the champion's learner is paused: what comes then is read again afterwards.
        """
        messages = records[EXAMPLES]
        if not self._standing.roster.arms:
            last = messages[-1].offset + 1
            self._comparison.offset = max(self._comparison.offset, last)
        elif not self._standing.paused:
            placed = await asyncio.to_thread(placed_in, messages)
            await self._teach(placed)
            await self._compare(placed)
        await self.tick()

    def forget(self, partition: int) -> None:
        """Drop learners and pairs; the store has what counts."""
        self._forget()

    async def tick(self) -> None:
        """Notice changes of roles; publish when something was learned and it is time."""
        if not self._is_open:
            return
        now = self._clock.now_ms()
        if self._news or now - self._looked_ms >= LOOK_MS:
            self._news = False
            await self._follow()
        await self._announce()
        if self._unsaved and self._clock.now_ms() - self._saved_ms >= self._interval_ms:
            await self._publish()

    async def close(self) -> None:
        """Keep what was learned since the last snapshots."""
        if self._unsaved and self._is_open:
            await self._publish()

    def _forget(self) -> None:
        self._hosted = {}
        self._comparison = self._new_comparison()
        self._is_open = self._unsaved = False
        self._standing, self._pending = _Standing(), None

    def _new_comparison(self) -> Comparison:
        corrected = self._project.label.fake_negatives
        return Comparison(self._project.trial, self._project.task, corrected=corrected)

    # ---- Who stands beside the champion

    def _decided(self) -> list[tuple[str, str]]:
        """The pair that a promotion which is not entered yet has begun."""
        return [(self._pending.change.release, self._pending.champion)] if self._pending else []

    async def _look(self) -> _Standing | None:
        """How things stand; None when the roles cannot be read."""
        self._looked_ms = self._clock.now_ms()
        try:
            standings = await asyncio.to_thread(self._roles.standings)
        except TidemillError as error:
            _log.error("roles cannot be read", error=str(error))
            return None
        answers = ""
        if not standings.is_alone(self._schema.hash):
            place = self._names.newest_snapshot(self._project.learner.name)
            (data,) = await self._store.read([place])
            answers = Newest.decode(data).release if data else ""
        roster = self._roles.roster(standings, answers)
        if not roster.arms:
            return _Standing(roster)
        halt = Halt.found_in(await self._store.side(self._names.side("learn", 0)))
        return _Standing(roster, answers == roster.champion, halt is not None)

    async def _follow(self) -> None:
        """Open again when somebody got another role; try again what could not be entered."""
        waited = self._pending
        if waited is not None:
            await self._carry_out(waited)
        found = await self._look()
        entered = waited is not None and self._pending is None
        if (found is None or found == self._standing) and not entered:
            return
        if self._unsaved:
            await self._publish()
        if found is not None:
            await self._let_go(found.roster)
        raise Reopen(self.name, 0)

    def _to_host(self) -> list[Arm]:
        """The arms that learn; a former champion only after it was handed over."""
        standing = self._standing
        stopped = self._pending.change.release if self._pending else ""
        return [
            arm for arm in standing.roster.arms
            if arm.release != stopped and (standing.taken_over or not arm.watched)
        ]  # fmt: skip

    async def _host(self, arms: list[Arm]) -> None:
        self._refused &= {arm.release for arm in arms}
        champion: Snapshot | None = None
        if self._standing.roster.arms:
            name = self._project.learner.name
            champion = await newest_snapshot(self._store, self._names, name)
            self._comparison.leave_out(champion.skipped if champion else [])
        for arm in arms:
            if arm.release in self._refused:
                continue
            try:
                self._hosted[arm.release] = await self._started(arm.release, champion)
            except (ArtifactError, DeclarationError) as error:
                self._refused.add(arm.release)
                self._alerts.began("challenger_refused", arm.release, str(error))
                _log.error("challenger refused", release=arm.release, error=str(error))
        self._unsaved = any(each.unsaved for each in self._hosted.values())

    async def _started(self, release: str, champion: Snapshot | None) -> _Hosted:
        """Where the arm's snapshot left off, else where its release's data ended.

        Also when the champion has left out examples that the arm has learned: what it leaves out
        the arms leave out, and what an operator let it learn unjudged, is unjudged here.
        """
        snapshots, number = self._origins.beside(release), 0
        skipped = list(champion.skipped) if champion else []
        unguarded = champion.unguarded if champion else 0
        found = await snapshots.read()
        if found is not None:
            chain, _, good = found
            number = chain[-1].number
            if chain[-1].skipped == skipped:
                learning = await asyncio.to_thread(self._origins.at_snapshot, chain)
                learning.place.unguarded = unguarded
                learning.keep()
                if good is not None and good.release == release:
                    learning.checkpoint = await asyncio.to_thread(self._origins.at_snapshot, [good])
                return _Hosted(learning, snapshots, False)
        learning = await asyncio.to_thread(self._origins.at_release, release, number)
        learning.place.skipped, learning.place.unguarded = skipped, unguarded
        return _Hosted(learning.guarded(self._origins.new_guard()), snapshots, True)

    async def _learned_to(self) -> int:
        """How far the champion's learner has come: a comparison begins there."""
        (fields,) = await self._store.fence_fields([self._names.fence("learn", 0)])
        return fields.get(OFFSET + EXAMPLES, 0)

    # ---- One micro-batch

    async def _teach(self, placed: list[Placed]) -> None:
        for release, each in self._hosted.items():
            learned = await asyncio.to_thread(each.learning.learn, placed, self._schema.hash)
            each.unsaved = each.unsaved or bool(learned.examples)
            if learned.trip is not None:
                watched = any(
                    a.release == release and a.watched for a in self._standing.roster.arms
                )
                action: Action = "unwatched" if watched else "retired"
                each.learning = each.learning.taken_back()
                each.snapshots.begin()
                await self._resolve(action, release, f"its learner was stopped: {learned.trip}")

    async def _compare(self, placed: list[Placed]) -> None:
        self._unsaved = True
        if self._pending is not None:  # what it changes is not in the journal yet
            return
        verdict = await asyncio.to_thread(self._comparison.take, placed)
        if verdict is None:
            return
        if await self._look() != self._standing:  # it was decided on what stood seconds ago
            raise Reopen(self.name, 0)
        if verdict.action == "promoted":
            self._comparison.promoted(verdict.release)
        await self._resolve(verdict.action, verdict.release, verdict.why)

    async def _resolve(self, action: Action, release: str, why: str) -> None:
        """Decide: behind the fence first, then in the journal, where it is entered once."""
        champion = self._standing.roster.champion
        change = RoleChange(
            release, action, self._schema.hash, self._clock.now_ms(), BY_TRIAL, why,
            instead_of=champion if action == "rolled_back" else "",
            watched=champion if action == "promoted" else "",
        )  # fmt: skip
        pending = Pending(change, champion)
        await self._publish(pending)
        await self._carry_out(pending)
        found = await self._look()
        if found is not None:
            await self._let_go(found.roster)
        raise Reopen(self.name, 0)

    async def _carry_out(self, pending: Pending) -> None:
        """Enter it, say so, and note that it was; what cannot be entered now is tried again."""
        assert self._owned is not None
        change = pending.change
        try:
            stands = await asyncio.to_thread(self._roles.enter, pending)
        except (OSError, TidemillError) as error:
            self._pending = pending
            _log.error("role change not entered", release=change.release, error=str(error))
            return
        _log.warning("trial", release=change.release, action=change.action, why=change.why,
                     entered=stands)  # fmt: skip
        if stands and change.action in ALERTS_OF:
            self._alerts.began(ALERTS_OF[change.action], change.release, change.why)
        if stands:
            self._to_announce["release"] = await asyncio.to_thread(
                self._registry.announcement, change.release, self._project.learner.name,
                self._clock.now_ms(),
            )  # fmt: skip
        await self._owned.commit({}, side_delete=[PENDING])
        self._pending = None

    # ---- What is kept

    async def _publish(self, pending: Pending | None = None) -> None:
        """Snapshots of all arms, the pairs and the report, with the offset, in one step."""
        owned, now = self._owned, self._clock.now_ms()
        assert owned is not None
        blobs: list[tuple[str, bytes]] = []
        written: dict[str, Announcement] = {}
        for release, each in self._hosted.items():
            if each.unsaved:
                each.learning.number += 1
                data, own = await asyncio.to_thread(each.snapshots.encode, each.learning, now)
                blobs += own
                written[release] = self._announcement(each.learning, data)
        told = await asyncio.to_thread(
            report, self._comparison, self._standing.roster, self._project.trial, self.hosted
        )
        side_set, side_delete = self._comparison.changes()
        if pending is not None:
            side_set[PENDING] = pending.encode()
        await owned.commit(
            {EXAMPLES: self._comparison.offset},
            side_set=side_set, side_delete=side_delete,
            blobs=[*blobs, (self._names.trial(), told)],
        )  # fmt: skip
        self._comparison.saved()
        self._to_announce |= written
        for each in self._hosted.values():
            each.unsaved = False
        self._saved_ms, self._unsaved = now, False
        if pending is None:  # else the loop opens again whatever comes
            await self._announce()

    async def _let_go(self, roster: Roster) -> None:
        """The snapshots of those that are no arms any more are forgotten, in time to take over."""
        assert self._owned is not None
        for release in sorted(self._hosted.keys() - {arm.release for arm in roster.arms}):
            each = self._hosted[release]
            each.learning.number += 1
            last = await asyncio.to_thread(each.snapshots.last, each.learning, self._clock.now_ms())
            expires = [_KEPT_MS if data else 1 for _, data in last]
            await self._owned.commit({}, blobs=last, expires_ms=expires)

    def _announcement(self, learning: Learning, stored: bytes) -> Announcement:
        learner = name_beside(self._project.learner.name, learning.release)
        return Announcement(
            "snapshot", learner, learning.release, learning.number, digest(stored),
            self._clock.now_ms(), learning.place.examples, [], learning.offset,
        )  # fmt: skip

    async def _announce(self) -> None:
        records = [(a.learner.encode(), a.encode()) for a in self._to_announce.values()]
        if records:
            await self._producer.send_many(MODELS, records, 0)
            self._to_announce.clear()
