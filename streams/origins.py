"""Where the learner of a release may begin: at a snapshot, beside the champion, or afresh."""

from __future__ import annotations

import asyncio

import structlog

from learners.families import restore, warm_start
from learners.guard import Guard
from learners.learner import Learner
from learners.snapshot import Snapshot, name_beside
from streams.context import Context
from streams.learning import Learning
from streams.releases import Releases
from streams.snapshots import Snapshots, restored
from tidemill.breaker import Breaker
from tidemill.errors import ArtifactError, DeclarationError

APART = 1_000  # snapshots that a challenger's own step may still write under the release's name
_log = structlog.get_logger()


class Origins:
    """Makes the learners of one declaration; what is not awaited may block on the disk."""

    def __init__(self, context: Context, releases: Releases, limits: Breaker) -> None:
        """`limits` are those of the learners' guards."""
        self._names, self._store = context.names, context.store
        self._project, self._schema = context.plan.project, context.plan.schema
        self._releases, self._limits = releases, limits

    def new_guard(self) -> Guard:
        """A guard that has seen nothing."""
        return Guard(self._limits, self._project.task)

    def at_snapshot(self, chain: list[Snapshot]) -> Learning:
        """Where a whole snapshot and its changes left off. Raises ArtifactError."""
        saved = chain[-1]
        release = self._releases.load(saved.release)

        def learner_of(whole: Snapshot) -> Learner:
            return restore(self._project.learner, release, self._schema, whole.state)

        try:
            learner = restored(chain, learner_of)
        except ArtifactError as error:
            raise ArtifactError(
                f"snapshot {saved.number} of {saved.release}: {error} (a learner that is declared "
                "otherwise than before needs another name)"
            ) from error
        return Learning.restored(saved, learner, self.new_guard)

    def at_release(self, release: str, number: int) -> Learning:
        """Where the release's data ended; its snapshots are counted on from `number`.

        Raises ArtifactError, and DeclarationError where the two do not go together.
        """
        frozen = self._releases.load(release)
        learner = warm_start(self._project.learner, frozen, self._schema)
        return Learning(release, learner, self._releases.trained_to(release), number=number)

    def beside(self, release: str) -> Snapshots:
        """What a challenger keeps of its learner."""
        learner = name_beside(self._project.learner.name, release)
        return Snapshots(self._store, self._names, learner, self._schema.hash)

    async def from_beside(
        self, release: str, number: int, skipped: list[tuple[int, int]]
    ) -> Learning | None:
        """Where a challenger is that learned beside the champion; None when it did not.

        Nor when it learned what the champion left out. It has no guard.
        """
        try:
            found = await self.beside(release).read()
            if found is None or found[0][-1].skipped != skipped:
                return None
            learning = await asyncio.to_thread(self.at_snapshot, found[0])
        except (ArtifactError, DeclarationError) as error:
            _log.warning("not gone on from beside", release=release, error=str(error))
            return None
        # No two snapshots have one name.
        learning.number = max(learning.number, number) + APART
        learning.guard = None
        return learning
