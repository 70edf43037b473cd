"""The journal of roles: lines that people or a broken disk may have touched."""

import tempfile
from pathlib import Path

import msgspec

from tidemill.errors import ArtifactError
from tidemill.roles import Journal, RoleChange, Standings

ALLOWED = (ArtifactError,)
_MEMORY = Path("/dev/shm")
_FOLDER = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
FILE = Path(_FOLDER.name) / "roles.jsonl"
JOURNAL = Journal(FILE)
RELEASES = ("r0001", "r0002")


def seeds() -> list[bytes]:
    """Every action, and a last line that a killed writer left."""
    changes = [
        RoleChange("r0001", "published", "abc", 1),
        RoleChange("r0002", "challenger", "abc", 2, by="me", why="try"),
        RoleChange("r0002", "promoted", "abc", 3, by="trial", forced=True),
        RoleChange("r0001", "rolled_back", "abc", 4, instead_of="r0002"),
        RoleChange("r0002", "retired", "abc", 5),
        RoleChange("r0002", "given_up", "abc", 6),
    ]
    lines = b"".join(msgspec.json.encode(change) + b"\n" for change in changes)
    return [lines, lines + b'{"release":"r00', b""]


def one(data: bytes) -> None:
    """What can be read has standings, and can be read again after something was added."""
    FILE.write_bytes(data)
    changes = JOURNAL.read()
    standings = Standings(changes, RELEASES)
    champion = standings.champion()
    assert champion is None or champion.release in RELEASES
    for release in RELEASES:
        standings.role(release)
    added = RoleChange("r0001", "promoted", "abc", 7)
    JOURNAL.append(lambda before: [added])
    assert JOURNAL.read() == [*changes, added]
