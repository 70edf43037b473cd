"""A signature says who signed; a key is made once, kept private, and older releases get theirs."""

from __future__ import annotations

import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidemill.errors import ArtifactError, SettingsError
from tidemill.signature import Keys, Signer

DATA = b"manifest"


def nothing(signer: Signer) -> None:
    """There are no older releases."""


def private_key(path: Path, key: object = None, password: bytes | None = None) -> Path:
    """A file with a private key."""
    key = key or Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(password) if password
        else serialization.NoEncryption()
    )  # fmt: skip
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return path


def public_key(private: Path, folder: Path) -> Path:
    """The public half of a key in a folder of trusted ones."""
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    data = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    folder.mkdir(exist_ok=True)
    (folder / "a.pub").write_bytes(data)
    return folder


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """The next process signs with the same; the same bytes get the same signature."""
    first, second = (Keys(tmp_path).signer(nothing) for _ in range(2))
    assert first.sign(DATA) == second.sign(DATA)
    assert 0o600 == stat.S_IMODE((tmp_path / "keys" / "signing.pem").stat().st_mode)
    assert first.name == Keys(tmp_path).check("it", DATA, first.sign(DATA))


def test_processes_at_once_make_one_key(tmp_path: Path) -> None:
    """Whoever comes second waits and takes the first one's."""
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda _: Keys(tmp_path).signer(nothing).name, range(8)))
    assert 1 == len(set(names))
    assert 2 == len(list((tmp_path / "keys").iterdir()))


def test_without_a_key_nothing_is_checked(tmp_path: Path) -> None:
    """A home from before signatures; the first key has what is there signed before it counts."""
    assert "" == Keys(tmp_path).check("it", DATA, None)
    seen = []
    Keys(tmp_path).signer(lambda signer: seen.append(list((tmp_path / "keys").glob("*.pub"))))
    Keys(tmp_path).signer(lambda signer: seen.append("again"))
    assert [[]] == seen


def test_a_signing_of_older_releases_that_was_killed_is_done_again(tmp_path: Path) -> None:
    """No key is trusted before all of them are signed."""

    def killed(signer: Signer) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Keys(tmp_path).signer(killed)
    assert "" == Keys(tmp_path).check("it", DATA, None)
    seen = []
    Keys(tmp_path).signer(seen.append)
    assert 1 == len(seen)


@pytest.mark.parametrize("signature", [None, b"", b"x" * 64, b"x" * 63])
def test_what_no_trusted_key_signed_is_refused(tmp_path: Path, signature: bytes | None) -> None:
    """The message names what it was, and the folder of the keys."""
    Keys(tmp_path).signer(nothing)
    with pytest.raises(ArtifactError, match="release r0001: signature: found .*keys"):
        Keys(tmp_path).check("release r0001", DATA, signature)


def test_a_key_of_ones_own_signs(tmp_path: Path) -> None:
    """Its public half is trusted beside those before it."""
    before = Keys(tmp_path).signer(nothing)
    keys = Keys(tmp_path, private_key(tmp_path / "mine.pem"))
    mine = keys.signer(nothing)
    for signer in (before, mine):
        assert signer.name == keys.check("it", DATA, signer.sign(DATA))


def test_only_the_keys_of_a_folder_of_ones_own_are_trusted(tmp_path: Path) -> None:
    """A signer that is not among them is told so before anything is published."""
    mine = private_key(tmp_path / "mine.pem")
    trusted = public_key(mine, tmp_path / "trusted")
    signer = Keys(tmp_path, mine, trusted).signer(nothing)
    assert signer.name == Keys(tmp_path, None, trusted).check("it", DATA, signer.sign(DATA))
    with pytest.raises(SettingsError, match=f"found key .*; allowed: one of {signer.name}"):
        Keys(tmp_path, None, trusted).signer(nothing)
    (trusted / "a.pub").unlink()
    with pytest.raises(ArtifactError, match="allowed: one by a key of"):
        Keys(tmp_path, mine, trusted).check("it", DATA, signer.sign(DATA))


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file that is missing, no key, another kind of key, or locked by a password."""
    path = tmp_path / "mine.pem"
    keys = Keys(tmp_path, path)
    with pytest.raises(SettingsError, match=r"mine\.pem: No such file"):
        keys.signer(nothing)
    path.write_bytes(b"no key")
    with pytest.raises(SettingsError, match="found no private key"):
        keys.signer(nothing)
    private_key(path, rsa.generate_private_key(65537, 2048))
    with pytest.raises(SettingsError, match="found another kind of key; allowed: Ed25519"):
        keys.signer(nothing)
    private_key(path, password=b"secret")
    with pytest.raises(SettingsError, match="without a password"):
        keys.signer(nothing)


def test_a_trusted_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """It is not passed over: its releases would be refused for no reason to be seen."""
    Keys(tmp_path).signer(nothing)
    (tmp_path / "keys" / "b.pub").write_bytes(b"no key")
    with pytest.raises(ArtifactError, match=r"b\.pub"):
        Keys(tmp_path).check("it", DATA, None)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_agrees(tmp_path: Path) -> None:
    """A signature can be checked without Tidemill."""
    signer = Keys(tmp_path).signer(nothing)
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "sig").write_bytes(signer.sign(DATA))
    command = (
        f"openssl pkeyutl -verify -pubin -inkey keys/{signer.name}.pub -rawin -in data -sigfile sig"
    )
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr
