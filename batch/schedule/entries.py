"""SCHEDULE.toml: the projects with their quotas, and what cron does when."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batch.schedule.job import JobRequest, Resources
from batch.schedule.kinds import KINDS
from batch.schedule.planner import Quotas
from batch.schedule.resources import Room, bytes_of
from batch.schedule.ticks import Cron
from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError

CLASSES = ("production", "experiment")
MOST_ATTEMPTS, MOST_PRIORITY, MOST_CORES = 100, 10_000, 100_000


@dataclass(frozen=True, slots=True)
class ProjectEntry:
    """One project: its file, and what its jobs find in their environment beside ours."""

    file: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CronEntry:
    """A job that is added whenever its line is due."""

    cron: Cron
    request: JobRequest


@dataclass(frozen=True, slots=True)
class Schedule:
    """The whole file.

    dask: address of a Dask scheduler whose workers run the jobs; None: this machine does
    dask_fallback: this machine runs them while Dask does not answer
    """

    quotas: Quotas
    projects: Mapping[str, ProjectEntry]
    cron: Mapping[str, CronEntry] = field(default_factory=dict)
    dask: str | None = None
    dask_fallback: bool = False


def read_schedule(path: Path, cores: Iterable[int]) -> Schedule:
    """The file at `path` on a machine with these cores; raises DeclarationError naming it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        found = error.strerror or str(error)
        raise DeclarationError("schedule", found, "a file that can be read", str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError("schedule", str(error), "TOML", str(path)) from None
    try:
        return _schedule(_Table("", data), path.parent, tuple(cores))
    except DeclarationError as error:
        raise DeclarationError(error.name, error.found, error.allowed, str(path)) from None


class _Table:
    """A table of the file whose entries are taken one by one; what is left over is a mistake."""

    def __init__(self, name: str, data: object) -> None:
        if not isinstance(data, dict):
            raise DeclarationError(name, data, "a table")
        self._name, self._data, self._known = name, data, [*data]
        self._taken: list[str] = []

    def name(self, key: str) -> str:
        """How a message calls an entry."""
        return f"{self._name}.{key}" if self._name else key

    def take(self, key: str, kind: type, allowed: str, default: Any = ...) -> Any:
        """An entry of this kind; without a default it must be there."""
        self._taken.append(key)
        if key not in self._data:
            if default is ...:
                raise DeclarationError(self.name(key), "nothing", allowed)
            return default
        found = self._data[key]
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise DeclarationError(self.name(key), found, allowed)
        return found

    def whole(self, key: str, lowest: int, highest: int, default: int | None) -> Any:
        """A whole number in a range."""
        allowed = f"a whole number from {lowest} to {highest}"
        found = self.take(key, int, allowed, default)
        if found is not None and not lowest <= found <= highest:
            raise DeclarationError(self.name(key), found, allowed)
        return found

    def size(self, key: str) -> int | None:
        """Bytes; None where there is no entry."""
        found = self.take(key, str, "a size such as 8GB", None)
        return None if found is None else bytes_of(self.name(key), found)

    def tables(self, key: str) -> dict[str, _Table]:
        """The tables in a table."""
        inner = self.take(key, dict, "a table of tables", {})
        return {name: _Table(self.name(f"{key}.{name}"), each) for name, each in inner.items()}

    def end(self) -> None:
        """Refuse what nobody took."""
        left = [key for key in self._known if key not in self._taken]
        if left:
            allowed = "one of " + ", ".join(sorted(set(self._taken)))
            raise DeclarationError(self.name(left[0]), "an entry nobody knows", allowed)


def _schedule(table: _Table, folder: Path, cores: tuple[int, ...]) -> Schedule:
    gpus = _devices(table)
    projects, rooms = {}, {}
    for name, each in table.tables("projects").items():
        projects[name], rooms[name] = _project(each, folder, gpus)
    if not projects:
        raise DeclarationError("projects", "none", "at least one [projects.NAME]")
    dask = table.take("dask", str, "an address such as tcp://host:8786", None)
    if dask is not None:  # of a cluster nobody here knows the numbers
        cores = tuple(range(MOST_CORES))
    used = table.whole("cores", 1, len(cores), None if dask else len(cores))
    if used is None:
        raise DeclarationError("cores", "nothing", "with `dask` how many cores jobs may take")
    schedule = Schedule(
        Quotas(
            cores[:used], table.size("memory"), gpus, rooms,
            table.take("preempt", bool, "true or false", False),
        ),
        projects,
        _entries(table, projects),
        dask,
        table.take("dask_fallback", bool, "true or false", False),
    )  # fmt: skip
    table.end()
    return schedule


def _devices(table: _Table) -> dict[str, tuple[str, ...]]:
    """Label → the identifiers of its devices, as CUDA_VISIBLE_DEVICES has them."""
    allowed = 'a table of lists, such as { h100 = ["0", "1"] }'
    found: dict[str, Any] = table.take("gpus", dict, allowed, {})
    for label, ids in found.items():
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise DeclarationError(f"gpus.{label}", ids, 'a list such as ["0", "1"]')
    every = [each for ids in found.values() for each in ids]
    for each in every:
        if every.count(each) > 1:
            raise DeclarationError("gpus", f"{each} twice", "each device once, under one label")
    return {label: tuple(ids) for label, ids in found.items()}


def _project(table: _Table, folder: Path, gpus: Mapping[str, object]) -> tuple[ProjectEntry, Room]:
    file = folder / table.take("file", str, "the path of the project's file")
    environment = table.take("environment", dict, "a table of strings", {})
    for name, value in environment.items():
        if not isinstance(value, str):
            raise DeclarationError(table.name(f"environment.{name}"), value, "a string")
    room = Room(
        table.whole("cores", 1, MOST_CORES, None), table.size("memory"), _counts(table, gpus, None)
    )
    table.end()
    return ProjectEntry(file.absolute(), environment), room


def _entries(table: _Table, projects: Mapping[str, object]) -> dict[str, CronEntry]:
    found = {}
    for name, each in table.tables("cron").items():
        line = each.take("at", str, "a cron line such as '0 3 1 * *'")
        try:
            cron = Cron(line, each.take("timezone", str, "a time zone", "UTC"))
        except DeclarationError as error:
            raise DeclarationError(each.name(error.name), error.found, error.allowed) from None
        found[name] = CronEntry(cron, _request(each, projects))
        each.end()
    return found


def _request(table: _Table, projects: Mapping[str, object]) -> JobRequest:
    project = _one_of(table, "project", projects, ...)
    arguments = table.take("arguments", list, "a list of strings", [])
    if not all(isinstance(each, str) for each in arguments):
        raise DeclarationError(table.name("arguments"), arguments, "a list of strings")
    limit = table.take("time_limit", str, "a duration such as 6h", None)
    return JobRequest(
        project=project,
        kind=_one_of(table, "kind", KINDS, ...),
        arguments=tuple(arguments),
        production=_one_of(table, "class", CLASSES, "production") == "production",
        priority=table.whole("priority", -MOST_PRIORITY, MOST_PRIORITY, 0),
        need=Resources(
            table.whole("cores", 1, MOST_CORES, 1),
            table.size("memory"),
            _counts(table, None, {}) or {},
        ),
        attempts=table.whole("attempts", 1, MOST_ATTEMPTS, 3),
        time_limit_ms=None if limit is None else duration_ms(table.name("time_limit"), limit),
    )


def _one_of(table: _Table, key: str, names: Iterable[str], default: Any) -> str:
    allowed = "one of " + ", ".join(names)
    found: str = table.take(key, str, allowed, default)
    if found not in names:
        raise DeclarationError(table.name(key), found, allowed)
    return found


def _counts(
    table: _Table, known: Mapping[str, object] | None, default: dict[str, int] | None
) -> dict[str, int] | None:
    """GPUs by label; None where there is no entry."""
    found: dict[str, int] | None = table.take("gpus", dict, "a table such as { h100 = 1 }", default)
    for label, count in (found or {}).items():
        name = table.name(f"gpus.{label}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise DeclarationError(name, count, "a whole number from 0 on")
        if known is not None and label not in known:
            raise DeclarationError(name, label, "one of " + (", ".join(known) or "none"))
    return found


def cores_of_machine() -> tuple[int, ...]:
    """The cores this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))
