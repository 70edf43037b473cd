"""Signs releases with Ed25519 (RFC 8032), and checks signatures before anything is parsed.

A reader trusts the public keys (`*.pub`, PEM) in one folder. A home without any is one from before
signatures: there nothing is checked, until the first key is made, which signs what is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.durable import sync_folder, write_whole
from tidemill.errors import ArtifactError, SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

FOLDER, PRIVATE_KEY, PUBLIC_SUFFIX = "keys", "signing.pem", ".pub"


@dataclass(frozen=True)
class Signer:
    """Holds a private key; `name` is that of its public key."""

    key: Ed25519PrivateKey
    name: str

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes, 64 bytes; the same for the same bytes."""
        return self.key.sign(data)


class Keys:
    """Who signs and who is trusted; every call may block on the disk.

    `signing` is the file of a private key in PEM, without one `signing.pem` among the home's keys,
    made when it is needed first. `trusted` is the folder of the public keys, without one the home's
    own, to which a signer adds its public key; with one, a signer must be in it already.
    """

    def __init__(
        self, home: Path, signing: Path | None = None, trusted: Path | None = None
    ) -> None:
        self._own, self._signing, self._trusted = home / FOLDER, signing, trusted

    @property
    def folder(self) -> Path:
        """Where the public keys lie."""
        return self._trusted or self._own

    def signer(self, sign_older: Callable[[Signer], None]) -> Signer:
        """The signer, trusted from now on; `sign_older` is called before the first key is trusted.

        Raises SettingsError for a key that cannot be used.
        """
        with self._locked():
            signer = _read_private(self._signing) if self._signing else self._own_signer()
            trusted = self._public_keys()
            if signer.name not in trusted:
                if self._trusted is not None:
                    raise SettingsError(
                        f"TIDEMILL_SIGNING_KEY: found key {signer.name}; allowed: one of "
                        f"{', '.join(trusted) or 'none'}, the keys in {self._trusted}"
                    )
                if not trusted:
                    sign_older(signer)
                name = f"{signer.name}{PUBLIC_SUFFIX}"
                write_whole(self._own / name, _as_pem(signer.key.public_key()))
            return signer

    def check(self, what: str, data: bytes, signature: bytes | None) -> str:
        """The name of the trusted key that signed these bytes; empty in a home without keys.

        Raises ArtifactError, naming `what`, when none did.
        """
        from cryptography.exceptions import InvalidSignature

        trusted = self._public_keys()
        if not trusted and self._trusted is None:
            return ""
        for name, key in trusted.items():
            try:
                key.verify(signature or b"", data)
                return name
            except InvalidSignature:
                continue
        found = "none" if signature is None else "one that fits no trusted key"
        raise ArtifactError(
            f"{what}: signature: found {found}; allowed: one by "
            f"{', '.join(trusted) or 'a key'} of {self.folder}"
        )

    def _public_keys(self) -> dict[str, Ed25519PublicKey]:
        paths = sorted(self.folder.glob(f"*{PUBLIC_SUFFIX}")) if self.folder.is_dir() else []
        keys = [_read_public(path) for path in paths]
        return {_name(key): key for key in keys}

    def _own_signer(self) -> Signer:
        path = self._own / PRIVATE_KEY
        if not path.exists():
            _make_private(path)
        return _read_private(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._own.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._own, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _make_private(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    staging = path.with_suffix(".tmp")
    staging.unlink(missing_ok=True)
    # Never readable by others, not even for a moment.
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(staging, path)
    sync_folder(path.parent)


def _read_private(path: Path) -> Signer:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise SettingsError(f"signing key {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(
            f"signing key {path}: found no private key ({error}); allowed: Ed25519 in PEM, without "
            "a password"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"signing key {path}: found another kind of key; allowed: Ed25519")
    return Signer(key, _name(key.public_key()))


def _read_public(path: Path) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ArtifactError(f"trusted key {path}: {error}; allowed: Ed25519 in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ArtifactError(f"trusted key {path}: found another kind of key; allowed: Ed25519")
    return key


def _name(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _as_pem(key: Ed25519PublicKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
