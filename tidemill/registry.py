"""Releases on disk: written whole or not at all, verified before anything parses them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tidemill.errors import ArtifactError, LockedError

MANIFEST = "manifest.json"
_NAME = re.compile(r"r\d{4,}")


class Manifest(msgspec.Struct, frozen=True):
    """What a release is and where it comes from.

    `files` maps each file to its sha256; `offsets` says how far the training data reached
    (topic:partition → next offset), from where the learner catches up; `metrics` are those of the
    gate.
    """

    release: str
    project: str
    schema: str
    features: list[str]
    created_ms: int
    trained_from_ms: int
    trained_to_ms: int
    rows: int
    offsets: dict[str, int]
    metrics: dict[str, float]
    files: dict[str, str]
    parameters: dict[str, float | int | str]


class Registry:
    """The releases of one project under one folder; every call may block on the disk."""

    def __init__(self, home: Path, project: str) -> None:
        self.folder = home / "releases" / project

    def names(self) -> list[str]:
        """The published releases, oldest first (r0001, r0002, …)."""
        if not self.folder.is_dir():
            return []
        names = [p.name for p in self.folder.iterdir() if _NAME.fullmatch(p.name)]
        found = (name for name in names if (self.folder / name / MANIFEST).is_file())
        return sorted(found, key=lambda name: int(name[1:]))

    def newest(self, schema: str | None = None) -> str | None:
        """The release published last, or None; with `schema` the last made for those vectors.

        A release whose manifest cannot be read counts as one: whoever loads it says what is wrong.
        """
        names = reversed(self.names())
        if schema is None:
            return next(names, None)
        return next((name for name in names if self._schema_of(name) in (schema, None)), None)

    def _schema_of(self, release: str) -> str | None:
        try:
            return self.manifest(release).schema
        except ArtifactError:
            return None

    def next_name(self) -> str:
        """The name the next release gets."""
        newest = self.newest()
        return f"r{int(newest[1:]) + 1 if newest else 1:04d}"

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write a release atomically; returns its manifest with the files' digests filled in."""
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        manifest = msgspec.structs.replace(manifest, files=digests)
        self.folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self.folder))
        try:
            for name, data in files.items():
                _write_durably(staging / name, data)
            _write_durably(staging / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
            staging.chmod(0o755)
            os.rename(staging, self.folder / manifest.release)
            _sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        return manifest

    def manifest(self, release: str) -> Manifest:
        """The manifest of a release. Raises ArtifactError when it is missing or cannot be read."""
        try:
            data = (self.folder / release / MANIFEST).read_bytes()
            return msgspec.json.decode(data, type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"release {release}: {error}") from error

    def read(self, release: str, name: str) -> bytes:
        """One file of a release, its digest checked first. Raises ArtifactError."""
        expected = self.manifest(release).files.get(name)
        try:
            data = (self.folder / release / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"release {release}: {error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise ArtifactError(f"release {release}: {name}: sha256 {found}; allowed: {expected}")
        return data

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the project's retrain lock; raises LockedError at once when another process does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(f"another retrain of {self.folder.name} is running") from None
            yield


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
