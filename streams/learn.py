"""Examples → learner → snapshots; a new release catches up before it takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from learners.guard import Trip
from learners.progress import Progress, ProgressSettings
from learners.snapshot import digest
from streams.alerts import Alerts
from streams.catch_up import CatchUp
from streams.context import Context
from streams.fencing import Ownership
from streams.learning import Learning, Placed, placed_in
from streams.origins import Origins
from streams.quarantine import HALT, Halt, Order, put_aside
from streams.releases import Releases
from streams.snapshots import Snapshots
from streams.step import Records, Reopen
from tidemill.arm_scores import champions_example
from tidemill.errors import TidemillError
from tidemill.registry import Registry
from tidemill.roles import RoleChange
from tidemill.topics import EXAMPLES, MODELS
from tidemill.wire import Alert, Announcement, Example

LOOK_MS = 5_000  # a release whose announcement went to another worker is found this much later
ORDER_LOOK_MS = 500
_NUMBER = "number:"  # in the side hash: the last snapshot of a release that answers no more
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How often a snapshot is published at most, and how long a release may take to catch up."""

    interval_ms: int
    catch_up_ms: int = 600_000


class Learn:
    """One learner of one project; its state and the offsets it has learned are one snapshot."""

    name = "learn"
    kinds = (EXAMPLES,)

    def __init__(
        self,
        context: Context,
        registry: Registry,
        alerts: Alerts,
        settings: LearnSettings,
        watch: Callable[[Sequence[Example]], None] | None = None,
    ) -> None:
        """`watch` is shown the examples whose quality is measured, once each."""
        project = context.plan.project
        self._names, self._store, self._producer = context.names, context.store, context.producer
        self._measurements, self._clock, self._alerts = (
            context.measurements, context.clock, alerts
        )  # fmt: skip
        self._settings, self._watch = settings, watch
        self._project, self._schema = project, context.plan.schema
        self._releases = Releases(registry, project, self._schema.hash, context.clock)
        self._origins = Origins(context, self._releases, project.breaker)
        self.progress = Progress(
            project.task, ProgressSettings(project.label.wait_ms, project.slices)
        )
        self._snapshots = Snapshots(
            context.store, context.names, project.learner.name, self._schema.hash
        )
        self._owned: Ownership | None = None
        self._is_open = False
        self._champion: Learning | None = None
        self._candidate: CatchUp | None = None
        self._halt: Halt | None = None
        self._refused: Alert | None = None
        self._news = False
        self._numbers: dict[str, int] = {}
        self._produced_ms: list[int] = []
        self._unsaved = False
        self._to_announce: dict[str, Announcement] = {}  # the newest of each kind
        self._saved_ms = self._looked_ms = self._asked_ms = 0

    @property
    def version(self) -> tuple[str, int]:
        """Release and number of the newest snapshot; empty before the first release."""
        return (self._champion.release, self._champion.number) if self._champion else ("", 0)

    @property
    def learned(self) -> int:
        """The distinct examples the champion covers, those its release was trained on included."""
        return sum(self._champion.place.sequences.values()) if self._champion else 0

    @property
    def refused(self) -> Alert | None:
        """That the release which is to answer cannot be used; None while it can."""
        return self._refused if self._is_open else None

    @property
    def halt(self) -> Halt | None:
        """Why learning is paused; None while it goes on."""
        return self._halt

    @property
    def expert_weights(self) -> Mapping[str, float]:
        """How much each expert of a mixture says now; empty for other learners."""
        weights = getattr(self._champion.learner, "weights", None) if self._champion else None
        return weights() if callable(weights) else {}

    def wake(self) -> None:
        """A release got another role: look at the registry at the next opportunity."""
        self._news = True

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Restore the newest snapshot; when another release is wanted, start it catching up."""
        if claim or self._owned is None:
            self._owned = Ownership(self._store, self._names, self.name, partition)
        await self._owned.open(claim)
        self._forget()
        self._news, self._is_open = False, True
        side = await self._store.side(self._owned.side)
        self._halt, self._numbers = Halt.found_in(side), _numbers_in(side)
        await self._restore_champion()
        wanted = await self._wanted()
        if wanted is not None and wanted.release != self.version[0]:
            await self._begin(wanted)
        self._measurements.gauge("tidemill_learning_paused", float(self._halt is not None))
        return {EXAMPLES: min(self._places(), default=0)}

    async def process(self, partition: int, records: Records) -> None:
        """Learn one micro-batch, or put it aside while learning is paused; publish in time."""
        placed = placed_in(records[EXAMPLES])
        if self._candidate is not None:
            await self._teach_candidate(self._candidate, placed)
        if self._champion is None:
            return
        if self._halt is not None:
            await self._put_aside(self._halt, placed)
        else:
            await self._teach(self._champion, placed)
        await self.tick()

    def forget(self, partition: int) -> None:
        """Drop the learners; the snapshot in the store is what counts."""
        self._forget()

    async def tick(self) -> None:
        """Notice a new release or an order; publish when something was learned and it is time."""
        now = self._clock.now_ms()
        if self._is_open and (self._news or now - self._looked_ms >= LOOK_MS):
            self._news = False
            wanted = await self._wanted()
            aim = self._candidate.learning.release if self._candidate else self.version[0]
            if wanted is not None and wanted.release != aim:
                raise Reopen(self.name, 0)
        if self._halt is not None and now - self._asked_ms >= ORDER_LOOK_MS:
            await self._obey(self._halt)
        await self._settle_candidate()
        await self._announce()
        if self._unsaved and self._clock.now_ms() - self._saved_ms >= self._settings.interval_ms:
            await self._publish()

    async def close(self) -> None:
        """Keep what was learned since the last snapshot."""
        if self._unsaved:
            await self._publish()

    def _forget(self) -> None:
        self._champion, self._candidate, self._halt = None, None, None
        self._unsaved = self._is_open = False
        self._produced_ms = []
        self.progress.drop_candidate()

    def _places(self) -> list[int]:
        """Where the champion and the candidate read on."""
        places = [self._candidate.learning.offset] if self._candidate else []
        if self._champion is not None:
            places.append(self._halt.forwarded if self._halt else self._champion.offset)
        return places

    async def _teach(self, champion: Learning, placed: list[Placed]) -> None:
        learned = await asyncio.to_thread(champion.learn, placed, self._schema.hash)
        self._measure(learned.examples)
        if learned.trip is not None:
            await self._pause(champion, learned.trip)
        if learned.examples:
            self._unsaved = True
            self._produced_ms += [example.label_produced_ms for example in learned.examples]
            self._measurements.count("tidemill_examples_learned_total", len(learned.examples))

    async def _teach_candidate(self, candidate: CatchUp, placed: list[Placed]) -> None:
        """What is put aside now, a new release does not learn either."""
        if self._halt is not None:
            placed = [each for each in placed if each[0] < self._halt.start]
        learned = await asyncio.to_thread(candidate.learn, placed, self._schema.hash)
        if learned.examples:
            examples = [champions_example(example) for example in learned.examples]
            self.progress.add_candidate(examples, learned.predictions())

    def _measure(self, examples: Sequence[Example]) -> None:
        if not examples:
            return
        # Of the champion, also where a canary answered; without those measured before a restart.
        fresh = self.progress.add([champions_example(example) for example in examples])
        if self._watch is not None:
            self._watch(fresh)

    async def _restore_champion(self) -> None:
        self._snapshots.begin()
        found = await self._snapshots.read()
        if found is None:
            return
        chain, newest, good = found
        self._champion = await asyncio.to_thread(self._origins.at_snapshot, chain)
        if good is not None and good.release == self._champion.release:
            self._champion.checkpoint = await asyncio.to_thread(self._origins.at_snapshot, [good])
        else:
            self._champion.keep()
        self._to_announce["snapshot"] = self._announcement(newest)

    async def _wanted(self) -> RoleChange | None:
        """The champion of this schema by the journal; others are other learners' business."""
        self._looked_ms = self._clock.now_ms()
        wanted = await asyncio.to_thread(self._releases.wanted)
        if wanted is not None and self._refused is not None:
            self._alerts.ended(self._refused, f"{wanted.release} is the champion now")
            self._refused = None
        return wanted

    def _refuse(self, change: RoleChange, why: str) -> None:
        """Stay with what answers, and say so until another is wanted."""
        self._releases.refuse(change, why)
        self._refused = self._alerts.began("release_refused", change.release, why)
        self._measurements.count("tidemill_releases_refused_total")

    async def _begin(self, change: RoleChange) -> None:
        """A learner for another release, at the offset its training data reached."""
        # A release that answered before goes on counting: no two snapshots have one name.
        name, number = change.release, self._numbers.get(change.release, 0)
        learning = None
        if self._halt is None:  # else it has learned what is put aside now
            skipped = self._champion.place.skipped if self._champion else []
            learning = await self._origins.from_beside(name, number, skipped)
        if learning is None:
            try:
                learning = await asyncio.to_thread(self._origins.at_release, name, number)
            except TidemillError as error:
                return self._refuse(change, str(error))
        if self._champion is None:
            self._champion, self._unsaved = learning.guarded(self._origins.new_guard()), True
            return
        learning.place.skipped = list(self._champion.place.skipped)
        self._candidate = CatchUp(learning, self._project.task, self._clock.now_ms(), change)

    async def _settle_candidate(self) -> None:
        """Swap when the candidate has learned everything the champion has, or give it up."""
        candidate, champion = self._candidate, self._champion
        if candidate is None or champion is None:
            return
        now, limit_ms = self._clock.now_ms(), self._settings.catch_up_ms
        late = candidate.too_slow(champion.offset, now, limit_ms)
        ahead = candidate.learning.offset > champion.offset
        if ahead and not late and self._halt is None:
            return  # what the champion has answered up to there is measured first
        behind = candidate.learning.offset < champion.offset
        why = late if behind else candidate.too_bad(self._project.gate)
        if why and not candidate.ordered:
            await self._give_up(candidate, why)
            if behind:
                raise Reopen(self.name, 0)
        elif not behind:
            await self._take_over(candidate, champion)
        elif why and candidate.alert is None:
            name = candidate.learning.release
            candidate.alert = self._alerts.began("release_slow", name, f"catching up: {why}")

    async def _take_over(self, candidate: CatchUp, champion: Learning) -> None:
        learning = candidate.learning
        learning.place.unguarded = champion.place.unguarded
        # A copy: what the one before goes on with beside has its own window.
        guard = champion.guard.clone() if champion.guard else self._origins.new_guard()
        self._champion = learning.guarded(guard)
        self._candidate = None
        self.progress.drop_candidate()
        self._snapshots.begin()
        blobs: list[tuple[str, bytes]] = []
        if candidate.change.watched == champion.release:
            champion.number += 1
            beside, now = self._origins.beside(champion.release), self._clock.now_ms()
            _, blobs = await asyncio.to_thread(beside.encode, champion, now)
        numbers = {f"{_NUMBER}{champion.release}": str(champion.number).encode()}
        await self._publish(side_set=numbers, blobs=blobs)
        if candidate.alert is not None:
            self._alerts.ended(candidate.alert, "it has taken over")

    async def _give_up(self, candidate: CatchUp, why: str) -> None:
        """Keep the champion; neither a restart nor the next retrain takes the release for it."""
        release = candidate.learning.release
        self._candidate = None
        self.progress.drop_candidate()
        self._alerts.began("release_given_up", release, f"catching up: {why}")
        self._measurements.count("tidemill_releases_given_up_total")
        _log.error("release given up", release=release, why=why)
        self._to_announce["release"] = await asyncio.to_thread(
            self._releases.give_up, candidate.change, why
        )

    async def _pause(self, champion: Learning, trip: Trip) -> None:
        """Take the window back, say so, and go on by putting aside what comes."""
        good = champion.taken_back()
        halt = Halt.begun(trip, good.offset, good.place.sequences, self._clock.now_ms())
        self._champion = good
        self._snapshots.begin()
        self._produced_ms = []
        await self._publish(side_set={HALT: halt.encode()})
        self._alerts.began("learning_paused", self._project.learner.name, str(trip))
        self._measurements.count("tidemill_learning_pauses_total", reason=trip.reason)
        _log.error("learning paused", reason=trip.reason, why=str(trip), offset=good.offset)
        raise Reopen(self.name, 0)

    async def _put_aside(self, halt: Halt, placed: list[Placed]) -> None:
        assert self._owned is not None
        self._halt, fresh = await put_aside(self._producer, self._owned, halt, placed)
        self._measure([e for e in fresh if e.prediction.schema == self._schema.hash])
        self._measurements.count("tidemill_examples_quarantined_total", len(fresh))

    async def _obey(self, halt: Halt) -> None:
        """Go on learning as an operator wants, if one does."""
        self._asked_ms = self._clock.now_ms()
        key = self._names.learn_order(self._project.learner.name)
        order = Order.decode((await self._store.read([key]))[0])
        champion = self._champion
        if order is None or order.began_ms != halt.began_ms or champion is None:
            return
        if order.action == "skip":
            champion.skip(halt.forwarded, halt.sequences)
        else:
            champion.place.unguarded = halt.forwarded
        champion.keep()
        await self._publish(side_delete=[HALT], blobs=[(key, b"")])
        began = Alert("learning_paused", self._project.learner.name, "began", "", 0, halt.began_ms)
        self._alerts.ended(began, f"{order.action}: {halt.examples} examples")
        _log.warning("learning goes on", action=order.action, examples=halt.examples)
        raise Reopen(self.name, 0)

    async def _publish(
        self,
        side_set: Mapping[str, bytes] | None = None,
        side_delete: Sequence[str] = (),
        blobs: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """One snapshot: into the store with its offset behind the fence, then announced."""
        learning, owned = self._champion, self._owned
        assert learning is not None and owned is not None
        now = self._clock.now_ms()
        learning.number += 1
        snapshot, own = await asyncio.to_thread(self._snapshots.encode, learning, now)
        await owned.commit(
            {EXAMPLES: learning.offset},
            blobs=[*own, *blobs], side_set=side_set, side_delete=side_delete,
        )  # fmt: skip
        self._saved_ms, self._unsaved = now, False
        self._measurements.count("tidemill_snapshots_total")
        self._to_announce["snapshot"] = self._announcement(snapshot)
        await self._announce()

    async def _announce(self) -> None:
        records = [(a.learner.encode(), a.encode()) for a in self._to_announce.values()]
        if records:
            await self._producer.send_many(MODELS, records, 0)
            self._to_announce.clear()

    def _announcement(self, stored: bytes) -> Announcement:
        learning = self._champion
        assert learning is not None
        produced, self._produced_ms = self._produced_ms, []
        return Announcement(
            "snapshot", self._project.learner.name, learning.release, learning.number,
            digest(stored), self._clock.now_ms(), learning.place.examples, produced,
            learning.offset,
        )  # fmt: skip


def _numbers_in(side: Mapping[str, bytes]) -> dict[str, int]:
    numbers = {name: int(value) for name, value in side.items() if name.startswith(_NUMBER)}
    return {name.removeprefix(_NUMBER): number for name, number in numbers.items()}
