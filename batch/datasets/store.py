"""Datasets on disk: written whole or not at all, their digests checked before anything reads them.

`HOME/datasets/PROJECT/ID/` holds `part-00000.parquet` and so on, and `manifest.json`. A folder is
staged under a name nobody reads, locked by the process that fills it: what one that was killed left
behind is removed by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.datasets.manifest import DatasetManifest
from batch.datasets.parts import GROUP_ROWS, as_arrays, no_rows, rows_of
from tidemill.clock import Clock, SystemClock
from tidemill.durable import sync_folder, write_durably
from tidemill.errors import ArtifactError, InputError

MANIFEST = "manifest.json"
_NAME = re.compile(r"d[0-9a-f]{12}")
_STAGING, _LOCK = ".staging-", ".lock"


class DatasetStore:
    """The datasets of one project under one folder; every call may block on the disk."""

    def __init__(self, home: Path, project: str, clock: Clock | None = None) -> None:
        self._folder = home / "datasets" / project
        self.project, self._clock = project, clock or SystemClock()

    def names(self) -> list[str]:
        """The ids of the datasets, newest last; one whose manifest is damaged comes first."""
        if not self._folder.is_dir():
            return []
        found = [p.name for p in self._folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir()]
        return sorted(found, key=lambda name: (self._created_ms(name), name))

    def folder(self, name: str) -> Path:
        """Where a dataset's files lie."""
        return self._folder / name

    def manifest(self, name: str) -> DatasetManifest:
        """A dataset's manifest.

        Raises InputError for a dataset that is not there, ArtifactError for one whose manifest is
        not what its id says.
        """
        if not _NAME.fullmatch(name) or not self.folder(name).is_dir():
            known = ", ".join(self.names()[-5:]) or "none yet: tidemill dataset build makes one"
            raise InputError("unknown_dataset", "dataset", repr(name), f"an id, such as {known}")
        try:
            data = (self.folder(name) / MANIFEST).read_bytes()
            found = msgspec.json.decode(data, type=DatasetManifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"dataset {name}: {error}") from error
        if found.named().id != name:
            raise ArtifactError(f"dataset {name}: manifest of {found.named().id}; allowed: {name}")
        return found

    def read(self, name: str) -> Dataset:
        """All rows as arrays, in the order of their labels, each file's digest checked first.

        Takes the memory of the arrays and of one file. Raises as `manifest` does.
        """
        manifest = self.manifest(name)
        found = as_arrays(no_rows(len(manifest.features)))
        whole = {
            column: np.empty((manifest.rows, *values.shape[1:]), values.dtype)
            for column, values in found.items()
        }
        start = 0
        for table in self.parts(manifest):
            for first in range(0, len(table), GROUP_ROWS):
                group = as_arrays(rows_of(table.slice(first, GROUP_ROWS)))
                stop = start + len(group["labels"])
                for column, values in group.items():
                    whole[column][start:stop] = values
                start = stop
        return Dataset(**whole)

    def parts(self, manifest: DatasetManifest) -> Iterator[pa.Table]:
        """The rows, one file after the other. Raises ArtifactError for a damaged one."""
        for name, rows in zip(sorted(manifest.parts), manifest.part_rows, strict=True):
            self._check(manifest, name)
            table = pq.ParquetFile(self.folder(manifest.id) / name).read()
            if len(table) != rows:
                raise ArtifactError(
                    f"dataset {manifest.id}: {name}: {len(table)} rows; allowed: {rows}"
                )
            yield table

    def first_label_times(self, manifest: DatasetManifest) -> NDArray[np.int64]:
        """The label time (ms) of each file's first row."""
        found = []
        for name in sorted(manifest.parts):
            file = pq.ParquetFile(self.folder(manifest.id) / name)
            batch = next(file.iter_batches(1, columns=["label_time"]))
            found.append(batch.column(0).cast(pa.int64())[0].as_py())
        return np.unique(np.array(found, np.int64))

    def check(self, name: str) -> DatasetManifest:
        """A dataset's manifest, every file's digest checked. Raises as `manifest` does."""
        manifest = self.manifest(name)
        for part in sorted(manifest.parts):
            self._check(manifest, part)
        return manifest

    def _check(self, manifest: DatasetManifest, part: str) -> None:
        expected = manifest.parts[part]
        try:
            with open(self.folder(manifest.id) / part, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(f"dataset {manifest.id}: {error}") from error
        if found != expected:
            raise ArtifactError(
                f"dataset {manifest.id}: {part}: sha256 {found}; allowed: {expected}. Remove "
                f"{self.folder(manifest.id)} and build it again"
            )

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to fill, gone at the end unless `publish` gave it its name. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._remove_abandoned()
            folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._folder))
            lock = open(folder / _LOCK, "wb")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with lock:
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staging: Path, manifest: DatasetManifest) -> DatasetManifest:
        """Give what is staged its id; returns what is there already if that is whole.

        The files must be on the disk; the manifest is written here. Raises OSError.
        """
        manifest = msgspec.structs.replace(manifest, created_ms=self._clock.now_ms()).named()
        content = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"))
        write_durably(staging / MANIFEST, content)
        staging.chmod(0o755)
        with self._locked():
            with contextlib.suppress(InputError, ArtifactError):
                return self.check(manifest.id)
            shutil.rmtree(self.folder(manifest.id), ignore_errors=True)  # it is damaged
            (staging / _LOCK).unlink()
            sync_folder(staging)
            os.rename(staging, self.folder(manifest.id))
            sync_folder(self._folder)
        return manifest

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the folder for a moment."""
        with open(self._folder / _LOCK, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _created_ms(self, name: str) -> int:
        try:
            return self.manifest(name).created_ms
        except (ArtifactError, InputError):  # removed just now
            return 0

    def _remove_abandoned(self) -> None:
        """Remove what a build that was killed has left; a live one holds its folder's lock."""
        for folder in self._folder.glob(f"{_STAGING}*"):
            with contextlib.suppress(OSError), open(folder / _LOCK, "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
