"""Every error Tidemill raises, in one tree.

::

    TidemillError
    ├── DeclarationError      a mistake in a project file (file, name, found, allowed)
    ├── SettingsError         a mistake in the environment
    ├── InputError            an event, label or request that cannot be used
    │   └── NoExamples        there is nothing to learn from
    ├── ArtifactError         a release or snapshot that must not be served
    ├── FencedError           a write by a process that no longer owns the partition
    ├── StoreUnavailable      the feature store did not answer
    ├── BusUnavailable        the broker did not answer
    ├── LogLost               the broker has no record of a partition that was read before
    ├── StateMissing          the store holds the state of another declaration
    ├── StateLost             the store no longer has what this process wrote to it
    ├── ServiceError          an embedded service could not run
    ├── LockedError           another process holds the lock
    ├── TrainingFailed        a training that cannot give a model
    └── GateRefused           a trained model is not good enough to publish

The client of the api has a branch of its own, under ClientError (`tidemill/client/errors.py`).
"""

from __future__ import annotations


class TidemillError(Exception):
    """Base of every error raised on purpose."""


class DeclarationError(TidemillError):
    """A mistake in a project file: where, which name, what was found and what is allowed."""

    def __init__(self, name: str, found: object, allowed: str, file: str = "") -> None:
        self.file, self.name, self.found, self.allowed = file, name, found, allowed
        super().__init__(name, found, allowed, file)

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        return f"{place}{self.name}: found {self.found!r}; allowed: {self.allowed}"


class SettingsError(TidemillError):
    """An environment variable that cannot be used."""


class InputError(TidemillError):
    """Input that cannot be used: which field, what was found, what is allowed.

    `cause` is a short stable word (a metric label and a dead letter's cause).
    """

    def __init__(self, cause: str, field: str, found: str, allowed: str) -> None:
        self.cause, self.field, self.found, self.allowed = cause, field, found, allowed
        super().__init__(cause, field, found, allowed)

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}; allowed: {self.allowed}"


class NoExamples(InputError):
    """Nothing to learn from or to check on yet: no labelled example, or of one label alone."""


class ArtifactError(TidemillError):
    """A release or snapshot that fails its checks; the one being served stays."""


class FencedError(TidemillError):
    """A write refused by the fence: another owner, or another writer got there first."""


class StoreUnavailable(TidemillError):
    """The feature store did not answer or refused the write; trying again may help."""


class BusUnavailable(TidemillError):
    """The Kafka broker did not answer; trying again may help."""


class LogLost(TidemillError):
    """The broker's log of a partition is empty, and yet `processed` records of it were processed.

    Reading on would drop every new record up to that offset as one seen before.
    """

    def __init__(self, topic: str, partition: int, processed: int) -> None:
        self.topic, self.partition, self.processed = topic, partition, processed
        super().__init__(topic, partition, processed)

    def __str__(self) -> str:
        return (
            f"topic {self.topic}, partition {self.partition}: found no record, and yet all before "
            f"offset {self.processed} are processed; allowed: a log that goes on from there. The "
            "broker has lost its log: begin with an empty store and a new TIDEMILL_HOME"
        )


class StateMissing(TidemillError):
    """Events were applied for other declarations, and this one's `state` was never backfilled."""

    def __init__(self, state: str, ready: list[str]) -> None:
        self.state, self.ready = state, ready
        super().__init__(state, ready)

    def __str__(self) -> str:
        return (
            f"feature state {self.state}: found only {', '.join(self.ready)} in the store; "
            "allowed: a state that is there (run `tidemill backfill` with this project file first)"
        )


class StateLost(TidemillError):
    """A fence is gone or older than its owner left it, so nobody took over: the store was changed.

    Going on would wait for ever for another owner, or write beside what is no longer there.
    """

    def __init__(self, fence: str, found: int, wrote: int) -> None:
        self.fence, self.found, self.wrote = fence, found, wrote
        super().__init__(fence, found, wrote)

    def __str__(self) -> str:
        found = f"epoch {self.found}" if self.found else "no epoch"
        return (
            f"{self.fence}: found {found}; allowed: {self.wrote} or later. The state was removed "
            "(`tidemill features drop`) or the store lost writes: start the worker again"
        )


class ServiceError(TidemillError):
    """An embedded service could not be started or kept running."""


class LockedError(TidemillError):
    """Another process holds the lock; nothing was done."""


class TrainingFailed(TidemillError):
    """A training that cannot give a model: what was found and what is allowed."""


class GateRefused(TidemillError):
    """The candidate was trained but must not be published; `reasons` lists why."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons))
