"""Turn verified bytes into models that were tried out; what answers is never written to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from api.adopting.giving_way import rest
from api.adopting.model import Lent, Vectors
from api.adopting.trying import check_speed, try_out
from learners.families import restore, warm_start
from learners.learner import Encoded, Frozen, Incremental, Learner
from learners.release import load_release
from learners.snapshot import Snapshot, name_beside
from tidemill.declaration import Project
from tidemill.errors import ArtifactError
from tidemill.registry import Registry
from tidemill.schema import FeatureSchema

_KEPT_RELEASES = 2  # also while one is loaded: as little memory as a swap can take


def check(what: str, found: object, allowed: object) -> None:
    """Raise ArtifactError unless `found` is what is allowed."""
    if found != allowed:
        raise ArtifactError(f"{what}: found {found}; allowed: {allowed}")


class ModelLoader:
    """Turns verified bytes into models; called in a worker thread, never in two at once.

    A learner that is published by its changes exists twice: one answers while the changes go into
    the other, then they change places. One that a thread still reads from is not waited for: then
    the changes go into a new copy.
    """

    def __init__(
        self,
        project: Project,
        schema: FeatureSchema,
        registry: Registry,
        lent: Lent | None = None,
        challenger: str = "",
    ) -> None:
        """`challenger`: the release that is set beside the champion, empty for the champion."""
        self._project, self._schema, self._registry = project, schema, registry
        self._lent = Lent() if lent is None else lent
        self.challenger = challenger
        name = project.learner.name
        self.learner = name_beside(name, challenger) if challenger else name
        """Whose snapshots it takes."""
        self.make_room: Callable[[], None] = lambda: None
        """Called before a release is read, to let go of what else was loaded here."""
        self._releases: dict[str, Frozen] = {}
        self._schemas: dict[str, str] = {}
        self.forget()

    def forget(self) -> None:
        """Nothing of the last snapshot is taken for had: the next one must be whole."""
        self.have = ("", 0)
        """Release and number of the snapshot that changes are applied to."""
        self._answers: Learner | None = None
        self._spare: Learner | None = None
        self._ahead: list[Encoded] = []  # changes that `_answers` has and `_spare` has not

    @property
    def schema(self) -> str:
        """The hash of the schema every model must have."""
        return self._schema.hash

    def snapshot(
        self, records: Sequence[bytes], recent: Vectors | None
    ) -> tuple[Snapshot, Learner]:
        """The last of these snapshots and its learner, tried out. Raises ArtifactError.

        Whoever does not serve it must `forget`: else the next changes would be written into what
        serves.
        """
        try:
            chain = [Snapshot.decode(record) for record in records]
            self._check_chain(chain)
            learner = self._restored(chain) if chain[0].whole else self._changed(chain)
            self._try_out(learner, recent)
        except BaseException:
            self.forget()
            raise
        self.have = (chain[-1].release, chain[-1].number)
        return chain[-1], learner

    def release(self, name: str, recent: Vectors | None) -> Learner:
        """A learner that predicts what the release predicts, tried out. Raises ArtifactError."""
        learner = warm_start(self._project.learner, self._release(name), self._schema)
        self._try_out(learner, recent)
        return learner

    def frozen(self, name: str) -> Frozen | None:
        """The release itself, if it was loaded lately."""
        return self._releases.get(name)

    def other_schema(self, release: str) -> bool:
        """True for a release known to be made for other features; read from the disk once."""
        if release not in self._schemas:
            try:
                self._schemas[release] = self._registry.manifest(release).schema
            except ArtifactError:
                return False
        return self._schemas[release] != self._schema.hash

    def _check_chain(self, chain: Sequence[Snapshot]) -> None:
        release, number = self.have
        first = chain[0].number if chain[0].whole else number + 1
        for place, each in enumerate(chain):
            check("snapshot schema", each.schema, self._schema.hash)
            check("snapshot learner", each.learner, self.learner)
            check("snapshot release", each.release, chain[0].release if chain[0].whole else release)
            check("snapshot number", each.number, first + place)
            check("snapshot base", each.base, chain[0].base)
        if self.challenger:
            check("snapshot release", chain[-1].release, self.challenger)

    def _restored(self, chain: Sequence[Snapshot]) -> Learner:
        release = self._release(chain[0].release)
        learner = restore(self._project.learner, release, self._schema, chain[0].state)
        _apply(learner, [change.state for change in chain[1:]])
        self._answers, self._spare, self._ahead = learner, None, []
        return learner

    def _changed(self, chain: Sequence[Snapshot]) -> Learner:
        assert self._answers is not None
        free = None if self._spare in self._lent else self._spare
        learner = free or self._answers.clone()
        changes: list[Encoded] = [change.state for change in chain]
        _apply(learner, [*self._ahead, *changes] if free else changes)
        self._answers, self._spare, self._ahead = learner, self._answers, changes
        return learner

    def _release(self, name: str) -> Frozen:
        found = self._releases.pop(name, None)
        if found is None:
            for oldest in list(self._releases)[: 1 - _KEPT_RELEASES]:
                del self._releases[oldest]
            self.make_room()
            found = load_release(self._registry, name, self._project, rest)
            self._schemas[name] = self._schema.hash  # else it would not have been loaded
        self._releases[name] = found  # the last one used is the last one here
        return found

    def _try_out(self, learner: Learner, recent: Vectors | None) -> None:
        """Predict for recent vectors and two extreme ones, in time where that is declared."""
        rows = np.zeros((2, len(self._schema.names)), dtype=np.float32)
        rows[1] = np.nan
        vectors = rows if recent is None else np.concatenate((recent, rows))
        try_out(learner, vectors, self._project.task)
        slowest_us = self._project.serving.slowest_us
        if slowest_us is not None:
            check_speed(learner, vectors, slowest_us)


def _apply(learner: Learner, changes: Sequence[Encoded]) -> None:
    if changes and not isinstance(learner, Incremental):
        raise ArtifactError("snapshot: found changes; allowed: a whole state")
    for change in changes:
        assert isinstance(learner, Incremental)
        learner.apply(change)
