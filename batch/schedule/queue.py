"""The queue on disk (SQLite): what was acknowledged survives kill -9 and the loss of power.

Commands add jobs and give orders, one scheduler starts them. Every change is one transaction that
reads what it changes, so neither undoes what the other just did.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from batch.schedule.job import Job, JobRequest, State
from tidemill.errors import LockedError, ServiceError

Fact = TypeVar("Fact")
FILE, LOCK = "scheduler.db", "scheduler.lock"
KEPT = 1_000
"""So many ended jobs are remembered."""
PROJECTS, WAITS, PLACES = "projects", "waits", "places"  # what a scheduler tells of itself
_PATIENCE_SECONDS = 10.0
_LOOKS = (0.02, 0.05, 0.1)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "project TEXT NOT NULL, kind TEXT NOT NULL, production INTEGER NOT NULL, "
    "origin TEXT NOT NULL, state TEXT NOT NULL, job BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, id)",
    "CREATE TABLE IF NOT EXISTS ticks (entry TEXT PRIMARY KEY, last_ms INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
)


class JobQueue:
    """The jobs under one home; every call may block on the disk and raises ServiceError."""

    def __init__(self, home: Path, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """`patience_seconds`: so long another process's change is waited for."""
        self.path = home / FILE
        with _as_service_error(self.path):
            home.mkdir(parents=True, exist_ok=True)
            # A transaction begins where we say so, not where the module guesses.
            self._database = sqlite3.connect(
                self.path, timeout=patience_seconds, isolation_level=None
            )
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        with self._changing():
            for table in _TABLES:
                self._database.execute(table)

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    # ---- What is there

    def jobs(self, *states: State, newest: int | None = None) -> list[Job]:
        """The jobs in these states, oldest first; with `newest` the last so many."""
        marks = ", ".join("?" * len(states))
        limit = -1 if newest is None else newest
        rows = self._rows(
            f"SELECT job FROM jobs WHERE state IN ({marks}) ORDER BY id DESC LIMIT ?",  # noqa: S608
            (*states, limit),
        )
        return [_decode(row[0]) for row in reversed(rows)]

    def job(self, number: int) -> Job | None:
        """One job."""
        rows = self._rows("SELECT job FROM jobs WHERE id = ?", (number,))
        return _decode(rows[0][0]) if rows else None

    def ticks(self) -> dict[str, int]:
        """When each cron entry was last due, as far as it was taken notice of (ms)."""
        return dict(self._rows("SELECT entry, last_ms FROM ticks"))

    def projects(self) -> dict[str, JobRequest]:
        """The projects that the newest scheduler knows, each with the retrain it would run."""
        return _decoded(self._fact(PROJECTS), dict[str, JobRequest])

    def waits(self) -> dict[int, str]:
        """Why jobs wait, as the scheduler saw it last."""
        return _decoded(self._fact(WAITS), dict[int, str])

    def places(self) -> dict[int, str]:
        """Where jobs run."""
        return _decoded(self._fact(PLACES), dict[int, str])

    def _fact(self, name: str) -> bytes:
        rows = self._rows("SELECT value FROM facts WHERE name = ?", (name,))
        return rows[0][0] if rows else b"{}"

    # ---- What changes it

    def add(self, request: JobRequest, origin: str, now_ms: int) -> Job:
        """A new job that waits."""
        with self._changing():
            return self._insert(request, origin, now_ms)

    def add_if_none_waits(self, request: JobRequest, origin: str, now_ms: int) -> Job | None:
        """A new job, unless one of this project, kind and class waits already."""
        with self._changing():
            found = self._database.execute(
                "SELECT 1 FROM jobs WHERE state = 'waiting' AND project = ? AND kind = ? "
                "AND production = ?",
                (request.project, request.kind, request.production),
            ).fetchone()
            return None if found else self._insert(request, origin, now_ms)

    def fire(self, entry: str, tick_ms: int, request: JobRequest | None, now_ms: int) -> Job | None:
        """Take notice of a cron entry's tick and add its job, both or neither.

        Without a request only the tick is noted; so too where its job of before still waits.
        """
        origin = f"cron {entry}"
        with self._changing():
            self._database.execute(
                "INSERT INTO ticks VALUES (?, ?) ON CONFLICT (entry) "
                "DO UPDATE SET last_ms = excluded.last_ms",
                (entry, tick_ms),
            )
            found = self._database.execute(
                "SELECT 1 FROM jobs WHERE state = 'waiting' AND origin = ?", (origin,)
            ).fetchone()
            return None if found or request is None else self._insert(request, origin, now_ms)

    def change(self, number: int, expected: State, **changes: Any) -> Job | None:
        """Change a job that is in the expected state; None, and nothing done, where it is not."""
        with self._changing():
            row = self._database.execute(
                "SELECT job FROM jobs WHERE id = ? AND state = ?", (number, expected)
            ).fetchone()
            if row is None:
                return None
            job = msgspec.structs.replace(_decode(row[0]), **changes)
            self._database.execute(
                "UPDATE jobs SET state = ?, job = ? WHERE id = ?",
                (job.state, msgspec.json.encode(job), number),
            )
            return job

    def tell(self, name: str, fact: Mapping[Any, Any]) -> None:
        """Replace what the scheduler says under one of the names above."""
        with self._changing():
            self._database.execute(
                "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) "
                "DO UPDATE SET value = excluded.value",
                (name, msgspec.json.encode(fact)),
            )

    def forget(self) -> list[int]:
        """Forget the oldest ended jobs beyond those kept; returns their numbers."""
        with self._changing():
            found = self._database.execute(
                "SELECT id FROM jobs WHERE state = 'ended' ORDER BY id DESC LIMIT -1 OFFSET ?",
                (KEPT,),
            ).fetchall()
            self._database.executemany("DELETE FROM jobs WHERE id = ?", found)
        return [number for (number,) in found]

    def _insert(self, request: JobRequest, origin: str, now_ms: int) -> Job:
        place = (request.project, request.kind, request.production, origin, "waiting", b"")
        columns = "project, kind, production, origin, state, job"
        row = self._database.execute(
            f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
            place,
        )
        job = Job(row.lastrowid or 0, request, origin, now_ms, now_ms)
        self._database.execute(
            "UPDATE jobs SET job = ? WHERE id = ?", (msgspec.json.encode(job), job.id)
        )
        return job

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        with _as_service_error(self.path), closing(self._database.execute(query, values)) as found:
            return found.fetchall()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with _as_service_error(self.path):
            # Immediate: what is read inside is still so when it is written.
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


@contextmanager
def only_scheduler(home: Path) -> Iterator[None]:
    """Be the one scheduler of a home inside the block; raises LockedError where another is."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / LOCK, "a+b") as file:
        for patience in (*_LOOKS, 0.0):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A command that only looks whether we run holds it for a moment as well.
                time.sleep(patience)
        else:
            file.seek(0)
            holder = file.read(32).decode(errors="replace").strip() or "unknown"
            raise LockedError(f"{home}: found another scheduler (process {holder}); allowed: one")
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def scheduler_runs(home: Path) -> bool:
    """Whether a scheduler works on the queue of this home right now."""
    try:
        with open(home / LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _decode(data: bytes) -> Job:
    return msgspec.json.decode(data, type=Job)


def _decoded(data: bytes, kind: type[Fact]) -> Fact:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:  # of another version, whose scheduler no longer runs
        return kind()


@contextmanager
def _as_service_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
        raise ServiceError(f"job queue {path}: {error}") from error
