"""One retrain's own record on disk: which stages are done, and what each gave.

A run is a folder `runs/<project>/<run>/` with `run.json` and the files of its stages. A stage is
done when `run.json` says so, and its files were written before: a run that was killed at any point
is gone on with, and no stage that was done is done again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from tidemill.clock import Clock
from tidemill.durable import write_whole
from tidemill.errors import ArtifactError, InputError

RUN_FILE = "run.json"
GONE_ON_WITH_MS = 12 * 60 * 60 * 1000
"""A run that was interrupted longer ago is left alone: its data is no longer the newest."""

_NAME = re.compile(r"run\d{4,}")


class StageDone(msgspec.Struct, frozen=True):
    """A stage that was finished: when it began (ms), how long it took, its files' digests."""

    name: str
    started_ms: int
    seconds: float
    files: dict[str, str]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `run.json` says.

    `key` is what the run was asked to do: only the same may go on with it. `outcome` is empty while
    it is unfinished, then an exit code's name in lower case. `attempts` is how often it was begun
    or gone on with, `stage` what is, or was last, under way, `error` what ended the last attempt.
    """

    id: str
    project: str
    key: str
    started_ms: int
    attempts: int = 1
    stage: str = ""
    stages: list[StageDone] = []
    ended_ms: int = 0
    outcome: str = ""
    error: str = ""
    dataset: str = ""
    release: str = ""
    reasons: list[str] = []


class Runs:
    """The runs of one project under one folder; whoever changes them holds the project's lock."""

    def __init__(self, home: Path, project: str) -> None:
        self.folder, self._project = home / "runs" / project, project

    def names(self) -> list[str]:
        """The runs, oldest first (run0001, run0002, …)."""
        if not self.folder.is_dir():
            return []
        names = [path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(names, key=lambda name: int(name[3:]))

    def check_name(self, name: str) -> str:
        """The name, if there is such a run. Raises InputError with those that are known."""
        names = self.names()
        if name not in names:
            allowed = ", ".join(names[-5:]) or "none yet: tidemill retrain makes one"
            raise InputError("unknown_run", "run", repr(name), allowed)
        return name

    def record(self, name: str) -> RunRecord:
        """What a run's file says. Raises ArtifactError when it is missing or damaged."""
        path = self.folder / name / RUN_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=RunRecord)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"run {name}: {error}") from error

    def records(self) -> Iterator[RunRecord]:
        """The runs that can be read, oldest first."""
        for name in self.names():
            try:
                yield self.record(name)
            except ArtifactError:
                continue

    def begin(self, key: str, clock: Clock, fresh: bool = False) -> Run:
        """Go on with the newest run of this key if it was interrupted lately, or begin a new one.

        With `fresh` always a new one.
        """
        now = clock.now_ms()
        newest = next(iter(reversed([*self.records()])), None)
        if newest is not None and not fresh and _may_go_on(newest, key, now):
            record = msgspec.structs.replace(newest, attempts=newest.attempts + 1, error="")
        else:
            number = int(self.names()[-1][3:]) + 1 if self.names() else 1
            record = RunRecord(
                id=f"run{number:04d}", project=self._project, key=key, started_ms=now
            )
        return Run(self.folder / record.id, record, clock)


class Run:
    """A run under way."""

    def __init__(self, folder: Path, record: RunRecord, clock: Clock) -> None:
        self.folder, self.record, self._clock = folder, record, clock
        folder.mkdir(parents=True, exist_ok=True)
        self._write(record)

    @property
    def id(self) -> str:
        """Its name."""
        return self.record.id

    def stage_folder(self, name: str) -> Path:
        """Where a stage that can go on in its middle keeps what it needs for that."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def stage(self, name: str, make: Callable[[], Mapping[str, bytes]]) -> dict[str, bytes]:
        """A stage's files by name, made unless they were; raises what `make` raises, and OSError.

        A file that was changed since counts as not made; where the stage then gives other files,
        those that came after it were made of the old ones, and count as not done.
        """
        before, done, after = self._around(name)
        found = None if done is None else self._read(done)
        if found is not None:
            return found
        started = self._clock.now_ms()
        self.note(stage=name)
        made = dict(make())
        for file, data in made.items():
            write_whole(self.folder / file, data)
        seconds = (self._clock.now_ms() - started) / 1000
        digests = {file: hashlib.sha256(data).hexdigest() for file, data in made.items()}
        kept = after if done is not None and done.files == digests else []
        stages = [*before, StageDone(name, started, seconds, digests), *kept]
        self._write(msgspec.structs.replace(self.record, stages=stages))
        return made

    def forget(self, *names: str) -> None:
        """What these stages gave cannot be used any more: they count as not done."""
        kept = [stage for stage in self.record.stages if stage.name not in names]
        self._write(msgspec.structs.replace(self.record, stages=kept))

    def note(self, **changes: str) -> None:
        """Enter what is known by now: the dataset, the release."""
        self._write(msgspec.structs.replace(self.record, **changes))

    def end(self, outcome: str, reasons: tuple[str, ...] = ()) -> None:
        """It is over, and nobody goes on with it."""
        self._write(
            msgspec.structs.replace(
                self.record,
                outcome=outcome,
                reasons=list(reasons),
                ended_ms=max(self._clock.now_ms(), 1),
            )
        )

    def _around(self, name: str) -> tuple[list[StageDone], StageDone | None, list[StageDone]]:
        """The stages done before one, that one if it is done, and those done after it."""
        stages = self.record.stages
        names = [stage.name for stage in stages]
        if name not in names:
            return stages, None, []
        place = names.index(name)
        return stages[:place], stages[place], stages[place + 1 :]

    def _read(self, done: StageDone) -> dict[str, bytes] | None:
        found = {}
        for file, digest in done.files.items():
            try:
                data = (self.folder / file).read_bytes()
            except OSError:
                return None
            if hashlib.sha256(data).hexdigest() != digest:
                return None
            found[file] = data
        return found

    def _write(self, record: RunRecord) -> None:
        self.record = record
        write_whole(self.folder / RUN_FILE, msgspec.json.format(msgspec.json.encode(record)))


def _may_go_on(record: RunRecord, key: str, now_ms: int) -> bool:
    lately = abs(now_ms - record.started_ms) <= GONE_ON_WITH_MS  # a clock may have been ahead
    return not record.outcome and record.key == key and lately
