"""Releases on disk: written whole or not at all, signed, verified before anything parses them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from tidemill.audit import AuditLog, Deed
from tidemill.durable import sync_folder, write_durably, write_whole
from tidemill.errors import ArtifactError, InputError, LockedError
from tidemill.roles import Journal, RoleChange, Standings
from tidemill.signature import Keys, Signer
from tidemill.wire import Announcement

MANIFEST, SIGNATURE, ROLES = "manifest.json", "manifest.sig", "roles.jsonl"
_NAME = re.compile(r"r\d{4,}")
_STAGING = ".staging-"
Decide = Callable[[Standings], RoleChange | None]


class Manifest(msgspec.Struct, frozen=True):
    """What a release is and where it comes from.

    `files` maps each file to its sha256; `offsets` says how far the training data reached
    (topic:partition → next offset), from where the learner catches up; `metrics` are those of the
    gate. `run` and `dataset` are what it was made by and from, `parent` the champion it was judged
    against, `forced` who wanted it in spite of the gate, `version` Tidemill's, `role` what it was
    published as.
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
    run: str = ""
    dataset: str = ""
    parent: str = ""
    forced: str = ""
    version: str = ""
    role: Literal["champion", "challenger"] = "champion"


class Registry:
    """The releases of one project under one folder; every call may block on the disk."""

    def __init__(self, home: Path, project: str, keys: Keys | None = None) -> None:
        """`keys` say who signs and who is trusted: without, those of the home."""
        self.home, self.folder = home, home / "releases" / project
        self._keys = keys or Keys(home)
        self._journal = Journal(self.folder / ROLES)
        self._audit = AuditLog(home, project)

    def names(self) -> list[str]:
        """The published releases, oldest first (r0001, r0002, …)."""
        return _names(self.folder)

    def champion(self, schema: str | None = None) -> str | None:
        """The release that is to answer, or None; with `schema` that for those vectors.

        A release whose manifest cannot be read counts as one: whoever loads it says what is wrong.
        """
        change = self.standings().champion(schema)
        return change.release if change else None

    def standings(self) -> Standings:
        """What every release is. Raises ArtifactError when the journal is damaged."""
        changes = self._journal.read()
        return Standings([*changes, *self._not_entered(changes)], self.names())

    def enter(self, decide: Decide) -> RoleChange | None:
        """Enter the role change that `decide` makes of what stands, or none; one writer at a time.

        Raises what `decide` raises, OSError, and ArtifactError when the journal is damaged.
        """
        made: list[RoleChange] = []

        def with_missing(changes: list[RoleChange]) -> list[RoleChange]:
            missing = self._not_entered(changes)
            change = decide(Standings([*changes, *missing], self.names()))
            made.extend([change] if change else [])
            entered = [*missing, *made]
            # Told first: a change that the audit log does not take is not made.
            for each in entered:
                self._audit.append(each.time_ms, _told(each))
            return entered

        self._journal.append(with_missing)
        return made[0] if made else None

    def _not_entered(self, changes: list[RoleChange]) -> list[RoleChange]:
        """Releases from before the journal, and one whose publisher was killed before its entry."""
        entered = {change.release for change in changes}
        return [self._publication(name) for name in self.names() if name not in entered]

    def _publication(self, release: str) -> RoleChange:
        try:
            manifest = self.manifest(release)
        except ArtifactError:
            return RoleChange(release, "published", "", 0)
        return RoleChange(
            release,
            "challenger" if manifest.role == "challenger" else "published",
            manifest.schema,
            manifest.created_ms,
            by=manifest.run,
            forced=bool(manifest.forced),
        )

    def next_name(self) -> str:
        """The name the next release gets; that of one that was deleted is not used again."""
        entered = {change.release for change in self._journal.read()}
        numbers = [int(name[1:]) for name in entered.union(self.names())]
        return f"r{max(numbers, default=0) + 1:04d}"

    def check_name(self, release: str) -> str:
        """The name, if there is such a release. Raises InputError with those that are known."""
        names = self.names()
        if release not in names:
            allowed = ", ".join(names[-5:]) or "none yet: tidemill retrain makes one"
            raise InputError("unknown_release", "release", repr(release), allowed)
        return release

    def release_of(self, run: str, since_ms: int = 0) -> str | None:
        """The release that a run published, if it came so far.

        Made since then: the name of a run that was deleted is used again.
        """
        for name in reversed(self.names()):
            try:
                manifest = self.manifest(name)
            except ArtifactError:
                continue
            if run and manifest.run == run and manifest.created_ms >= since_ms:
                return name
        return None

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write a release atomically, sign it and enter it in the journal.

        Returns its manifest with the files' digests filled in. Raises OSError, and SettingsError
        for a key that cannot be used; then nothing of it is there.
        """
        if manifest.project != self.folder.name:  # nobody would read it
            raise ValueError(
                f"manifest: project: found {manifest.project}; allowed: {self.folder.name}"
            )
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        manifest = msgspec.structs.replace(manifest, files=digests)
        signer = self._keys.signer(self._sign_older)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._write_release(manifest, files, signer)
        self.enter(lambda standings: None)  # the entry of every release that has none
        return manifest

    def _write_release(
        self, manifest: Manifest, files: Mapping[str, bytes], signer: Signer
    ) -> None:
        for left in self.folder.glob(f"{_STAGING}*"):  # by a publisher that was killed
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.folder))
        try:
            for name, data in files.items():
                write_durably(staging / name, data)
            encoded = msgspec.json.format(msgspec.json.encode(manifest))
            write_durably(staging / MANIFEST, encoded)
            write_durably(staging / SIGNATURE, signer.sign(encoded))
            staging.chmod(0o755)
            sync_folder(staging)
            os.rename(staging, self.folder / manifest.release)
            sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def _sign_older(self, signer: Signer) -> None:
        """Sign the releases of every project, all from before there was a key."""
        for folder in self.folder.parent.iterdir() if self.folder.parent.is_dir() else ():
            for name in _names(folder):
                manifest = (folder / name / MANIFEST).read_bytes()
                write_whole(folder / name / SIGNATURE, signer.sign(manifest))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process publishes meanwhile."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def manifest(self, release: str) -> Manifest:
        """The manifest of a release, its signature checked first.

        Raises ArtifactError when it is missing, not signed by a trusted key, or not this release's.
        """
        try:
            data = (self.folder / release / MANIFEST).read_bytes()
            self._check_signature(release, data)
            manifest = msgspec.json.decode(data, type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"release {release}: {error}") from error
        # A signed manifest of another release or project is no proof of this one.
        for found, allowed in (
            (manifest.release, release),
            (manifest.project, self.folder.name),
        ):
            if found != allowed:
                raise ArtifactError(
                    f"release {release}: manifest: found that of {found}; allowed: of {allowed}"
                )
        return manifest

    def signed_by(self, release: str) -> str:
        """The name of the trusted key that signed it; empty in a home from before signatures.

        Raises ArtifactError when it is missing or no trusted key did.
        """
        try:
            return self._check_signature(release, (self.folder / release / MANIFEST).read_bytes())
        except OSError as error:
            raise ArtifactError(f"release {release}: {error}") from error

    def _check_signature(self, release: str, data: bytes) -> str:
        try:
            signature = (self.folder / release / SIGNATURE).read_bytes()
        except FileNotFoundError:
            signature = None
        return self._keys.check(f"release {release}", data, signature)

    def read(self, manifest: Manifest, name: str) -> bytes:
        """One file of a release, its digest checked. Raises ArtifactError.

        Its manifest comes from `manifest`, which has checked the signature: that is not done again.
        """
        release, expected = manifest.release, manifest.files.get(name)
        try:
            data = (self.folder / release / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"release {release}: {error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise ArtifactError(f"release {release}: {name}: sha256 {found}; allowed: {expected}")
        return data

    def announcement(self, release: str, learner: str, now_ms: int) -> Announcement:
        """What tells worker and api to look at the roles; no digest without a manifest."""
        try:
            digest = hashlib.sha256((self.folder / release / MANIFEST).read_bytes()).hexdigest()
        except OSError:
            digest = ""
        return Announcement("release", learner, release, 0, digest, now_ms)

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


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    names = [p.name for p in folder.iterdir() if _NAME.fullmatch(p.name)]
    found = (name for name in names if (folder / name / MANIFEST).is_file())
    return sorted(found, key=lambda name: int(name[1:]))


def _told(change: RoleChange) -> Deed:
    """A role change as the audit log tells it: whatever of it is said."""
    detail = msgspec.to_builtins(change)
    for name in ("release", "by", "time_ms"):
        detail.pop(name, None)
    return Deed(change.by or "unnamed", "role", change.release, detail)
