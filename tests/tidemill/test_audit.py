"""The audit log only grows, and whatever is done to it afterwards is found."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import tidemill.audit
from tidemill.audit import AuditEntry, AuditLog, Deed
from tidemill.errors import ArtifactError
from tidemill.registry import Manifest, Registry
from tidemill.roles import RoleChange


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """A log with three entries."""
    log = AuditLog(tmp_path, "payments")
    log.append(1, Deed("anna", "role", "r0001", {"action": "promoted", "share": 0.1}))
    log.append(2, Deed("anna", "key_created", "abc", {"scopes": "score"}), Deed("b", "swap", "r1"))
    return log


def lines(log: AuditLog) -> list[bytes]:
    """The file's lines."""
    return log.path.read_bytes().splitlines(keepends=True)


def test_entries_hang_together(log: AuditLog) -> None:
    """What was told is read back, numbered from 1, each with the hash of the one before."""
    entries = list(log.entries())
    assert [1, 2, 3] == [entry.number for entry in entries]
    assert [entry.hash for entry in entries[:-1]] == [entry.previous for entry in entries[1:]]
    assert {"action": "promoted", "share": 0.1} == entries[0].detail
    assert (3, entries[-1].hash) == (log.verify().entries, log.verify().head)


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """Nothing was told yet, and looking makes no file."""
    log = AuditLog(tmp_path, "payments")
    assert 0 == log.verify().entries
    assert not log.path.exists()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_changed_entry_is_found(log: AuditLog, place: int) -> None:
    """Any other content than was written does not fit its hash."""
    changed = lines(log)
    changed[place] = changed[place].replace(b'"time_ms":', b'"time_ms":9')
    log.path.write_bytes(b"".join(changed))
    with pytest.raises(ArtifactError, match=f"line {place + 1}: found another content"):
        log.verify()


@pytest.mark.parametrize("place", [0, 1])
def test_a_removed_entry_is_found(log: AuditLog, place: int) -> None:
    """The next one hangs on what is not there any more."""
    left = lines(log)
    del left[place]
    log.path.write_bytes(b"".join(left))
    with pytest.raises(ArtifactError, match=f"line {place + 1}: found that it hangs on"):
        log.verify()


def test_a_forged_entry_is_found_by_the_next(log: AuditLog) -> None:
    """An entry with a hash that fits it breaks the chain behind it."""
    forged = lines(log)
    entry = msgspec.json.decode(forged[1], type=AuditEntry)
    entry = msgspec.structs.replace(entry, actor="nobody", hash="")
    entry = msgspec.structs.replace(entry, hash=entry.digest())
    forged[1] = msgspec.json.encode(entry) + b"\n"
    log.path.write_bytes(b"".join(forged))
    with pytest.raises(ArtifactError, match="line 3: found that it hangs on"):
        log.verify()


@pytest.mark.parametrize(
    ("old", "new"), [(b"{", b"{ "), (b'"detail":{', b'"note":"x","detail":{'), (b"\n", b"\n\n")]
)
def test_what_decoding_passes_over_is_found(log: AuditLog, old: bytes, new: bytes) -> None:
    """Spaces, fields that are not ours and empty lines are no part of what was written."""
    log.path.write_bytes(log.path.read_bytes().replace(old, new, 1))
    with pytest.raises(ArtifactError, match="line"):
        log.verify()


def test_the_log_of_another_project_is_found(log: AuditLog, tmp_path: Path) -> None:
    """A log that was put in another's place does not begin as that does."""
    other = AuditLog(tmp_path, "flights")
    log.path.rename(other.path)
    with pytest.raises(ArtifactError, match="line 1: found that it hangs on"):
        other.verify()


def test_a_log_that_was_cut_off_is_found_by_a_noted_hash(log: AuditLog) -> None:
    """Without its last lines a log hangs together still; a hash noted before is not in it."""
    head = log.verify().head
    log.append(3, Deed("a", "swap", "r2"))
    assert 4 == log.verify(head).entries
    log.path.write_bytes(b"".join(lines(log)[:2]))
    assert 2 == log.verify().entries
    with pytest.raises(ArtifactError, match=f"no line with the hash {head}"):
        log.verify(head)


def test_a_half_written_entry_is_passed_over_and_replaced(log: AuditLog) -> None:
    """A writer that was killed leaves no entry, and the next goes on after the last whole one."""
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + lines(log)[0][:40])
    assert 3 == log.verify().entries
    log.append(4, Deed("a", "swap", "r2"))
    assert 4 == log.verify().entries
    assert log.path.read_bytes().startswith(whole)


def test_a_damaged_end_is_not_built_upon(log: AuditLog) -> None:
    """A last entry that was changed ends the writing."""
    log.path.write_bytes(log.path.read_bytes().replace(b'"r1"', b'"r9"'))
    with pytest.raises(ArtifactError, match="last line"):
        log.append(4, Deed("a", "swap", "r2"))


def test_a_full_disk_leaves_the_log_as_it_was(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written whole is not there at all."""
    whole = log.path.read_bytes()
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(tidemill.audit.os, "write", half)
    with pytest.raises(OSError, match="No space"):
        log.append(4, Deed("a", "swap", "r2", {"why": "x" * 300}))
    assert whole == log.path.read_bytes()


def test_writers_take_turns(tmp_path: Path) -> None:
    """Entries of many writers at once make one chain."""
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: AuditLog(tmp_path, "p").append(n, Deed(f"w{n}", "swap", "r1")), range(60)
            )
        )
    assert 60 == AuditLog(tmp_path, "p").verify().entries


def test_what_comes_from_outside_is_bounded(tmp_path: Path) -> None:
    """Neither long texts nor many of them make an entry that the next writer cannot read."""
    log = AuditLog(tmp_path, "p")
    detail = {f"{n}" + "\x00" * 1000: "\x01" * 10_000 for n in range(1000)}
    log.append(1, Deed("\x02" * 10_000, "refused", "x" * 10_000, detail))
    log.append(2, Deed("a", "swap", "r1"))
    assert 2 == log.verify().entries


def test_every_change_of_a_role_is_told(tmp_path: Path) -> None:
    """Publishing and orders are in the audit log, with who and why."""
    registry = Registry(tmp_path, "payments")
    for name in ("r0001", "r0002"):
        manifest = Manifest(name, "payments", "s", [], 7, 0, 0, 1, {}, {}, {}, {}, run="run0001")
        registry.publish(manifest, {"model.txt": b"x"})
    registry.enter(
        lambda standings: RoleChange(
            "r0001", "rolled_back", "s", 9, "anna", "worse", instead_of="r0002"
        )
    )
    told = [
        (entry.time_ms, entry.actor, entry.subject, entry.detail["action"])
        for entry in AuditLog(tmp_path, "payments").entries()
    ]
    assert [
        (7, "run0001", "r0001", "published"),
        (7, "run0001", "r0002", "published"),
        (9, "anna", "r0001", "rolled_back"),
    ] == told


def test_a_change_that_cannot_be_told_is_not_made(tmp_path: Path) -> None:
    """With an audit log that takes nothing, roles stay as they are."""
    registry = Registry(tmp_path, "payments")
    manifest = Manifest("r0001", "payments", "s", [], 7, 0, 0, 1, {}, {}, {}, {})
    registry.publish(manifest, {"model.txt": b"x"})
    log = AuditLog(tmp_path, "payments")
    log.path.write_bytes(log.path.read_bytes().replace(b'"r0001"', b'"r0009"'))
    with pytest.raises(ArtifactError, match="last line"):
        registry.enter(lambda standings: RoleChange("r0001", "retired", "s", 9))
    assert "champion" == registry.standings().role("r0001")
