"""What releases are for: a journal of role changes, and what they come to.

The journal is only ever appended to, under a lock, and a line counts once it is whole: one that a
killed writer left half written is passed over, and removed by the next writer.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from tidemill.durable import sync_folder
from tidemill.errors import ArtifactError

Action = Literal[
    "published", "promoted", "challenger", "rolled_back", "retired", "given_up", "unwatched"
]
Role = Literal["champion", "challenger", "former", "rolled_back", "retired", "given_up"]
BY_TRIAL = "trial"
"""Who says so when neither an operator nor batch does: the comparison on matured labels."""

_ORDERS = ("promoted", "rolled_back")


class RoleChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release gets another role.

    `published`, `promoted` and `rolled_back` make it the champion of its schema, the last by taking
    the place of the newer release `instead_of`, which is out from then on. `challenger` sets it
    beside the champion, to answer `share` of the requests (0: none, it is only scored); `retired`
    takes it out for good, `given_up` says that it did not become what it was published for. The
    champion before, where it is `watched`, goes on beside the one promoted, until another is
    champion or `unwatched` ends it. `by` and `why` are an operator's, or the process and its
    reason.
    """

    release: str
    action: Action
    schema: str
    time_ms: int
    by: str = ""
    why: str = ""
    forced: bool = False
    instead_of: str = ""
    share: float = 0.0
    watched: str = ""


class Standings:
    """What the changes come to, for the releases that are still there."""

    def __init__(self, changes: Sequence[RoleChange], present: Collection[str]) -> None:
        self.changes = tuple(changes)
        self._line: dict[str, RoleChange] = {}  # those that may answer, the newest order last
        self._beside: dict[str, RoleChange] = {}  # the challengers, the newest last
        self._out: dict[str, Role] = {}
        self._known = {change.release for change in changes}
        for change in changes:
            self._apply(change)
        for gone in self._known.difference(present):
            for group in (self._line, self._beside, self._out):
                group.pop(gone, None)

    def _apply(self, change: RoleChange) -> None:
        for name in (change.release, change.instead_of):
            self._end_watch(name)
        if change.action == "unwatched":
            return
        if change.action == "challenger" and change.release in self._beside:
            self._beside[change.release] = change  # its place among them stays
            return
        for group in (self._line, self._beside, self._out):
            group.pop(change.release, None)
        if change.instead_of:
            self._line.pop(change.instead_of, None)
            self._beside.pop(change.instead_of, None)
            self._out[change.instead_of] = "rolled_back"
        match change.action:
            case "challenger":
                self._beside[change.release] = change
            case "retired" | "given_up":
                self._out[change.release] = change.action
            case _:
                self._line[change.release] = change

    def _end_watch(self, release: str) -> None:
        for name, made in self._line.items():
            if release and made.watched == release:
                self._line[name] = msgspec.structs.replace(made, watched="")

    @property
    def names(self) -> frozenset[str]:
        """Every release that ever was, also those that are gone."""
        return frozenset(self._known)

    def champion(self, schema: str | None = None) -> RoleChange | None:
        """The change that made the champion of this schema, or of the last one that got any."""
        changes = reversed(self._line.values())
        # What a damaged manifest was made for nobody knows: whoever loads it says what is wrong.
        return next((c for c in changes if schema in (None, c.schema) or not c.schema), None)

    def change(self, release: str) -> RoleChange | None:
        """What made a release one that may answer; None for one that may not."""
        return self._line.get(release)

    def former(self, schema: str) -> str | None:
        """The release that was champion of this schema before the one that is."""
        line = [change.release for change in self._line.values() if change.schema == schema]
        return line[-2] if len(line) > 1 else None

    def watched(self, schema: str, answering: str = "") -> str | None:
        """The champion before, while it goes on beside the one that took its place.

        Also beside the one that is `answering` while the champion catches up, which may be given
        up: then it is champion again, and watched as before.
        """
        champion = self.champion(schema)
        for made in (champion, self._line.get(answering)):
            if made and made.schema == schema and made.watched in self._line:
                return made.watched
        return None

    def challengers(self, schema: str | None = None, answering: str = "") -> list[str]:
        """The releases beside the champions (of this schema), the newest last.

        A former champion that is watched is the first: it answers nothing.
        """
        schemas = dict.fromkeys(change.schema for change in self._line.values())
        former = [self.watched(each, answering) for each in schemas if schema in (None, each)]
        beside = [c.release for c in self._beside.values() if schema in (None, c.schema)]
        return [*filter(None, former), *beside]

    def is_alone(self, schema: str) -> bool:
        """True when nobody of this schema is challenger or watched, whoever answers."""
        beside = any(change.schema == schema for change in self._beside.values())
        return not beside and not any(
            made.watched for made in self._line.values() if made.schema == schema
        )

    def share(self, release: str) -> float:
        """The share of the requests that a challenger answers; 0 for every other release."""
        change = self._beside.get(release)
        return change.share if change else 0.0

    def role(self, release: str) -> Role | None:
        """What a release is; None for one that is not there."""
        change = self._line.get(release)
        if change is None:
            return "challenger" if release in self._beside else self._out.get(release)
        champion = self.champion(change.schema)
        return "champion" if champion is change else "former"


def is_order(change: RoleChange) -> bool:
    """True when an operator or a trial made it the champion: then it is not judged once more."""
    return change.action in _ORDERS


class Journal:
    """The role changes of one project, in one file; every call may block on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[RoleChange]:
        """Every change, oldest first. Raises ArtifactError for a line that cannot be read."""
        try:
            return self._decoded(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ArtifactError(f"{self._path}: {error.strerror}") from error

    def append(self, decide: Callable[[list[RoleChange]], Sequence[RoleChange]]) -> None:
        """Enter what `decide` makes of the changes so far; no other writer comes between.

        What `decide` raises is raised, OSError as well, and nothing is entered.
        """
        with self._locked() as descriptor:
            before = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            whole = before[: before.rfind(b"\n") + 1]
            changes = decide(self._decoded(whole))
            if not changes:
                return
            try:
                if len(whole) < len(before):
                    os.ftruncate(descriptor, len(whole))
                _write(descriptor, b"".join(msgspec.json.encode(c) + b"\n" for c in changes))
            except OSError:
                os.ftruncate(descriptor, len(whole))
                raise
        sync_folder(self._path.parent)

    def _decoded(self, data: bytes) -> list[RoleChange]:
        changes = []
        for number, line in enumerate(data.split(b"\n")[:-1], 1):
            try:
                changes.append(msgspec.json.decode(line, type=RoleChange))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ArtifactError(f"{self._path}: line {number}: {error}") from error
        return changes

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)
