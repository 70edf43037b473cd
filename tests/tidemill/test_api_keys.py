"""API keys are random, kept as hashes, and end when they are told to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidemill.api_keys import SCOPES, KeyFile, KeyRequest, digest_of, first_keys
from tidemill.audit import AuditLog
from tidemill.errors import InputError, SettingsError

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    """A project's keys, none yet."""
    return KeyFile(tmp_path, "payments")


def test_a_key_is_kept_as_its_hash_alone(keys: KeyFile) -> None:
    """The text of a key is shown once; nothing on the disk holds its secret."""
    key, text = keys.create(KeyRequest("shop", ["score"]), "anna", NOW_MS)
    secret = text.removeprefix(f"tm_{key.id}_")
    assert 43 == len(secret)
    assert digest_of(text) == key.sha256
    home = keys.path.parents[1]
    kept = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert (False, True) == (secret.encode() in kept, key.id.encode() in kept)


def test_keys_are_read_back(keys: KeyFile) -> None:
    """In the order in which they were made, with all that was said of them."""
    first, _ = keys.create(KeyRequest("a", ["score", "score", "label"]), "anna", NOW_MS)
    request = KeyRequest("b", ["admin"], NOW_MS + 5, 100, 60)
    second, _ = keys.create(request, "anna", NOW_MS)
    assert [first, second] == keys.read()
    assert (["score", "label"], None, 0) == (first.scopes, first.expires_ms, first.quota)
    assert (NOW_MS + 5, 100, 60) == (second.expires_ms, second.quota, second.window_seconds)


def test_without_a_file_there_is_no_key(keys: KeyFile) -> None:
    """None, which is not the same as a file whose keys have all ended."""
    assert (None, None) == (keys.read(), keys.stamp())


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (KeyRequest("", ["score"]), "NAME"),
        (KeyRequest("a\nb", ["score"]), "NAME"),
        (KeyRequest("x" * 101, ["score"]), "NAME"),
        (KeyRequest("a", []), "--scope"),
        (KeyRequest("a", ["everything"]), "--scope"),
        (KeyRequest("a", ["score"], NOW_MS), "--expires"),
        (KeyRequest("a", ["score"], None, 5, 0), "--limit"),
    ],
)
def test_a_key_that_cannot_be_is_refused(keys: KeyFile, request_: KeyRequest, field: str) -> None:
    """The field is named, and nothing is written."""
    with pytest.raises(InputError) as caught:
        keys.create(request_, "anna", NOW_MS)
    assert (field, None) == (caught.value.field, keys.read())


def test_a_key_ends_when_it_expires(keys: KeyFile) -> None:
    """At its time, not a moment before."""
    key, _ = keys.create(KeyRequest("a", ["score"], NOW_MS + DAY_MS), "anna", NOW_MS)
    assert ("active", "expired") == (key.state(NOW_MS + DAY_MS - 1), key.state(NOW_MS + DAY_MS))


def test_a_revoked_key_has_ended(keys: KeyFile) -> None:
    """At once, and once only."""
    key, _ = keys.create(KeyRequest("a", ["score"]), "anna", NOW_MS)
    assert "revoked" == keys.revoke(key.id, "anna", NOW_MS + 1).state(NOW_MS + 1)
    with pytest.raises(InputError, match="found revoked; allowed: one that is active"):
        keys.revoke(key.id, "anna", NOW_MS + 2)


def test_a_rotated_key_goes_on_for_a_while(keys: KeyFile) -> None:
    """The new one may what the old one may; the old one ends after the time it is kept."""
    old, _ = keys.create(KeyRequest("a", ["score"], None, 9, 60), "anna", NOW_MS)
    new, text = keys.rotate(old.id, "anna", NOW_MS, DAY_MS)
    first, second = keys.read() or []
    assert (NOW_MS + DAY_MS, new) == (first.ends_ms, second)
    assert (old.name, old.scopes, 9, 60, old.id) == (
        new.name, new.scopes, new.quota, new.window_seconds, new.instead_of,
    )  # fmt: skip
    assert digest_of(text) == new.sha256 != old.sha256


def test_rotating_lengthens_no_life(keys: KeyFile) -> None:
    """A key that would have ended earlier still does."""
    old, _ = keys.create(KeyRequest("a", ["score"], NOW_MS + 10), "anna", NOW_MS)
    new, _ = keys.rotate(old.id, "anna", NOW_MS, DAY_MS)
    assert [NOW_MS + 10, NOW_MS + 10] == [key.ends_ms for key in keys.read() or []]
    assert new.id != old.id


def test_rotated_keys_have_one_owner(keys: KeyFile) -> None:
    """That of the first of them, also where the file no longer has it."""
    first, _ = keys.create(KeyRequest("shop", ["label"]), "anna", NOW_MS)
    second, _ = keys.rotate(first.id, "anna", NOW_MS, DAY_MS)
    third, _ = keys.rotate(second.id, "anna", NOW_MS, DAY_MS)
    other, _ = keys.create(KeyRequest("shop", ["label"]), "anna", NOW_MS)
    own = {key.id: first.id for key in (first, second, third)}
    assert own | {other.id: other.id} == first_keys(keys.read() or ())
    assert {second.id: first.id, third.id: first.id} == first_keys([second, third])


def test_an_unknown_key_is_named(keys: KeyFile) -> None:
    """With what there is."""
    with pytest.raises(InputError, match="none yet: tidemill keys create makes one"):
        keys.revoke("nothing", "anna", NOW_MS)


def test_what_is_done_to_keys_is_told(keys: KeyFile, tmp_path: Path) -> None:
    """The audit log has who made, rotated and revoked which key; no secret."""
    key, text = keys.create(KeyRequest("a", ["score"]), "anna", NOW_MS)
    new, second = keys.rotate(key.id, "ben", NOW_MS, DAY_MS)
    keys.revoke(new.id, "carl", NOW_MS)
    log = AuditLog(tmp_path, "payments")
    assert [
        ("anna", "key_created", key.id),
        ("ben", "key_rotated", new.id),
        ("carl", "key_revoked", new.id),
    ] == [(entry.actor, entry.action, entry.subject) for entry in log.entries()]
    told = log.path.read_text()
    assert not any(part in told for part in (text, second, key.sha256))


def test_keys_made_at_once_are_all_there(keys: KeyFile) -> None:
    """One writer at a time."""
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: keys.create(KeyRequest(f"k{n}", ["read"]), "anna", NOW_MS), range(20)
            )
        )
    assert 20 == len({key.id for key in keys.read() or []})


@pytest.mark.parametrize("content", [b"", b"[{}]", b"{", b"\xff\xfe"])
def test_a_damaged_file_is_said(keys: KeyFile, content: bytes) -> None:
    """Its path is named, and it is not taken for one without keys."""
    keys.path.parent.mkdir(parents=True)
    keys.path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"payments\.json: "):
        keys.read()


def test_the_scopes_are_these() -> None:
    """A closed list, each with its meaning."""
    assert ("score", "label", "read", "admin") == tuple(SCOPES)
