"""API keys: made once, shown once, kept as the hash of a 256-bit secret.

A key reads `tm_ID_SECRET`; the id may be shown and logged, the secret is nowhere but with its
owner. A hash without salt or stretching is right for a random secret: there is nothing to guess.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from tidemill.audit import AuditLog, Deed, Value
from tidemill.durable import write_whole
from tidemill.errors import InputError, SettingsError

SCOPES = {
    "score": "score requests",
    "label": "send labels and events",
    "read": "read status, predictions, features and metrics",
    "admin": "change the roles of releases",
}
FOLDER, PREFIX = "api-keys", "tm_"
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_SECRET_BYTES = 32
_MOST_NAME = 100


class ApiKey(msgspec.Struct, frozen=True):
    """One key as the home keeps it.

    `sha256` is that of the whole key; `quota` requests are allowed in a window, 0 means what the
    settings say; `expires_ms` and `revoked_ms` end it; `instead_of` is the key it was rotated from.
    """

    id: str
    name: str
    scopes: list[str]
    sha256: Digest
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    quota: int = 0
    window_seconds: int = 0
    instead_of: str = ""

    @property
    def ends_ms(self) -> int | None:
        """From when on it is refused, None for never."""
        ends = [time for time in (self.expires_ms, self.revoked_ms) if time is not None]
        return min(ends, default=None)

    def state(self, now_ms: int) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_ms is not None and self.revoked_ms <= now_ms:
            return "revoked"
        return "active" if self.ends_ms is None or now_ms < self.ends_ms else "expired"


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key is to be."""

    name: str
    scopes: Sequence[str]
    expires_ms: int | None = None
    quota: int = 0
    window_seconds: int = 0


def digest_of(key: str | bytes) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def first_keys(keys: Iterable[ApiKey]) -> dict[str, str]:
    """For each key, oldest first, the one it was rotated from in the end: that of its owner."""
    found: dict[str, str] = {}
    for key in keys:
        found[key.id] = found.get(key.instead_of, key.instead_of or key.id)
    return found


class KeyFile:
    """The API keys of one project, in one file of the home; every call may block on the disk."""

    def __init__(self, home: Path, project: str) -> None:
        self.path = home / FOLDER / f"{project}.json"
        self._audit = AuditLog(home, project)

    def read(self) -> list[ApiKey] | None:
        """Every key that ever was, oldest first; None where none was ever made.

        Raises SettingsError for a file that cannot be read.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[ApiKey])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{self.path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.path}: {error}") from None

    def stamp(self) -> object:
        """Changes when the file does; None where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        # Its rights too: a file that could not be read may be readable now.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def create(self, request: KeyRequest, by: str, now_ms: int) -> tuple[ApiKey, str]:
        """A new key and its text, which is kept nowhere. Raises InputError."""
        _check(request, now_ms)
        key, text = _new_key(request, now_ms)
        detail: dict[str, Value] = {"name": key.name, "scopes": " ".join(key.scopes)}
        detail |= _ending(key)

        def add(keys: list[ApiKey]) -> tuple[list[ApiKey], Deed]:
            return [*keys, key], Deed(by, "key_created", key.id, detail)

        self._change(now_ms, add)
        return key, text

    def revoke(self, key_id: str, by: str, now_ms: int) -> ApiKey:
        """End a key at once. Raises InputError for one that is not there or has ended."""

        def end(keys: list[ApiKey]) -> tuple[list[ApiKey], Deed]:
            key = _active(keys, key_id, now_ms)
            ended = msgspec.structs.replace(key, revoked_ms=now_ms)
            return _with(keys, ended), Deed(by, "key_revoked", key_id, {"name": key.name})

        return _named(self._change(now_ms, end), key_id)

    def rotate(self, key_id: str, by: str, now_ms: int, keep_ms: int) -> tuple[ApiKey, str]:
        """A new key like this one and its text; the old one ends after `keep_ms`, or as it would.

        Raises InputError for one that is not there or has ended.
        """
        made: list[tuple[ApiKey, str]] = []

        def exchange(keys: list[ApiKey]) -> tuple[list[ApiKey], Deed]:
            old = _active(keys, key_id, now_ms)
            request = KeyRequest(
                old.name, old.scopes, old.expires_ms, old.quota, old.window_seconds
            )
            key, text = _new_key(request, now_ms)
            key = msgspec.structs.replace(key, instead_of=old.id)
            made.append((key, text))
            ends = now_ms + keep_ms if old.ends_ms is None else min(old.ends_ms, now_ms + keep_ms)
            detail: dict[str, Value] = {
                "name": old.name,
                "instead_of": old.id,
                "old_expires_ms": ends,
            }
            ended = msgspec.structs.replace(old, expires_ms=ends)
            return [*_with(keys, ended), key], Deed(by, "key_rotated", key.id, detail)

        self._change(now_ms, exchange)
        return made[0]

    def _change(
        self, now_ms: int, decide: Callable[[list[ApiKey]], tuple[list[ApiKey], Deed]]
    ) -> list[ApiKey]:
        """Write what `decide` makes of the keys, told in the audit log first."""
        with self._alone():
            keys, deed = decide(self.read() or [])
            self._audit.append(now_ms, deed)
            write_whole(self.path, msgspec.json.format(msgspec.json.encode(keys)) + b"\n")
        return keys

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _new_key(request: KeyRequest, now_ms: int) -> tuple[ApiKey, str]:
    key_id = secrets.token_hex(6)
    text = f"{PREFIX}{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = ApiKey(
        key_id, request.name, list(dict.fromkeys(request.scopes)), digest_of(text), now_ms,
        request.expires_ms, quota=request.quota, window_seconds=request.window_seconds,
    )  # fmt: skip
    return key, text


def _check(request: KeyRequest, now_ms: int) -> None:
    name = request.name
    if not (name.isprintable() and 0 < len(name.strip()) == len(name) <= _MOST_NAME):
        allowed = f"1 to {_MOST_NAME} printable characters, none of them a space at the end"
        raise InputError("name", "NAME", repr(name), allowed)
    if not request.scopes:
        raise InputError("scope", "--scope", "nothing", "one or more of " + ", ".join(SCOPES))
    for scope in request.scopes:
        if scope not in SCOPES:
            raise InputError("scope", "--scope", repr(scope), "one of " + ", ".join(SCOPES))
    if request.expires_ms is not None and request.expires_ms <= now_ms:
        raise InputError("expires", "--expires", str(request.expires_ms), "a time to come")
    if (request.quota > 0) != (request.window_seconds > 0) or request.quota < 0:
        found = f"{request.quota} in {request.window_seconds} s"
        raise InputError("limit", "--limit", found, "both of them above 0")


def _ending(key: ApiKey) -> dict[str, int]:
    found = {"expires_ms": key.expires_ms or 0, "quota": key.quota}
    return {name: value for name, value in found.items() if value}


def _named(keys: Sequence[ApiKey], key_id: str) -> ApiKey:
    for key in keys:
        if key.id == key_id:
            return key
    allowed = ", ".join(key.id for key in keys[-5:]) or "none yet: tidemill keys create makes one"
    raise InputError("unknown_key", "ID", repr(key_id), allowed)


def _active(keys: Sequence[ApiKey], key_id: str, now_ms: int) -> ApiKey:
    key = _named(keys, key_id)
    state = key.state(now_ms)
    if state != "active":
        raise InputError("state", f"key {key_id}", state, "one that is active")
    return key


def _with(keys: Sequence[ApiKey], changed: ApiKey) -> list[ApiKey]:
    return [changed if key.id == changed.id else key for key in keys]
