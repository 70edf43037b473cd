"""The journal of roles survives kills and several writers, and says who is champion."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill.roles
from tidemill.errors import ArtifactError
from tidemill.roles import Journal, RoleChange, Standings, is_order

A, B = "a" * 12, "b" * 12


def published(release: str, schema: str = A) -> RoleChange:
    """A release as it begins."""
    return RoleChange(release, "published", schema, 1)


def standings(*changes: RoleChange, present: tuple[str, ...] = ()) -> Standings:
    """What these come to; every release is there unless told otherwise."""
    return Standings(changes, present or {change.release for change in changes})


def champion(found: Standings, schema: str | None = None) -> str | None:
    """Its name."""
    change = found.champion(schema)
    return change.release if change else None


THREE = (published("r0001"), published("r0002"), published("r0003"))


def test_the_last_published_is_champion() -> None:
    """Those before it are former ones."""
    found = standings(*THREE)
    assert ("r0003", "r0002") == (champion(found, A), found.former(A))
    roles = ["former", "former", "champion", None]
    assert roles == [found.role(f"r000{number}") for number in (1, 2, 3, 4)]


def test_each_schema_has_its_champion() -> None:
    """And of all, the last that became one."""
    found = standings(published("r0001"), published("r0002", B))
    assert ("r0001", "r0002", "r0002", None) == (
        champion(found, A), champion(found, B), champion(found), champion(found, "c"),
    )  # fmt: skip
    assert ["champion", "champion"] == [found.role(name) for name in ("r0001", "r0002")]


def test_after_a_rollback_the_newer_one_stays_out() -> None:
    """Also when the one that was rolled back to is retired later."""
    back = RoleChange("r0002", "rolled_back", A, 2, "ann", "slow", instead_of="r0003")
    found = standings(*THREE, back)
    assert ("r0002", "rolled_back") == (champion(found, A), found.role("r0003"))
    assert is_order(found.champion(A))
    found = standings(*THREE, back, RoleChange("r0002", "retired", A, 3))
    assert ("r0001", "retired") == (champion(found, A), found.role("r0002"))


@pytest.mark.parametrize("action", ["given_up", "retired", "challenger"])
def test_what_is_out_is_not_champion(action: str) -> None:
    """The one before it is, until it is promoted again."""
    out = RoleChange("r0003", action, A, 2)
    assert ("r0002", action) == (champion(standings(*THREE, out), A),
                                 standings(*THREE, out).role("r0003"))  # fmt: skip
    again = RoleChange("r0003", "promoted", A, 3)
    assert "r0003" == champion(standings(*THREE, out, again), A)


def test_deleted_releases_have_no_role() -> None:
    """The champion is one that is there."""
    found = standings(*THREE, present=("r0001", "r0002"))
    assert ("r0002", None) == (champion(found, A), found.role("r0003"))
    assert "r0003" in found.names


def test_a_damaged_release_is_not_passed_over() -> None:
    """Whoever loads it says what is wrong with it."""
    assert "r0002" == champion(standings(published("r0001"), published("r0002", "")), A)


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """In order, with everything an operator said."""
    journal = Journal(tmp_path / "p" / "roles.jsonl")
    assert [] == journal.read()
    order = RoleChange("r0001", "promoted", A, 5, "ann", "because", True)
    journal.append(lambda changes: THREE)
    journal.append(lambda changes: [order])
    assert [*THREE, order] == journal.read()


@given(cut=st.integers(1, 60))
def test_a_half_written_line_is_passed_over_and_removed(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """Wherever a writer was killed, what was there before counts and the next one goes on."""
    path = tmp_path_factory.mktemp("journal") / "roles.jsonl"
    journal = Journal(path)
    journal.append(lambda changes: THREE[:2])
    path.write_bytes(path.read_bytes()[:-cut])
    left = journal.read()
    assert list(THREE[:1]) == left
    journal.append(lambda changes: THREE[2:])
    assert [*left, THREE[2]] == journal.read()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """A whole line that nobody wrote is not guessed at."""
    path = tmp_path / "roles.jsonl"
    journal = Journal(path)
    journal.append(lambda changes: THREE)
    path.write_bytes(path.read_bytes().replace(b"r0002", b"\xff0002"))
    with pytest.raises(ArtifactError, match=r"roles\.jsonl: line 2"):
        journal.read()


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each decides on what those before it entered."""
    path = tmp_path / "roles.jsonl"

    def enter(writer: int) -> None:
        for _ in range(20):
            Journal(path).append(lambda found: [published(f"r{len(found) + 1:04d}", str(writer))])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    assert [f"r{number:04d}" for number in range(1, 81)] == [
        c.release for c in Journal(path).read()
    ]


def test_a_decision_that_fails_enters_nothing(tmp_path: Path) -> None:
    """What it raises is raised, and the lock is free again."""
    journal = Journal(tmp_path / "roles.jsonl")

    def refuse(changes: list[RoleChange]) -> list[RoleChange]:
        raise ArtifactError("no")

    with pytest.raises(ArtifactError, match="no"):
        journal.append(refuse)
    journal.append(lambda changes: THREE)
    assert 3 == len(journal.read())


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is not entered, and the journal is as it was."""
    journal = Journal(tmp_path / "roles.jsonl")
    journal.append(lambda changes: THREE[:1])
    before = (tmp_path / "roles.jsonl").read_bytes()

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tidemill.roles, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        journal.append(lambda changes: THREE[1:])
    assert before == (tmp_path / "roles.jsonl").read_bytes()


def test_a_challenger_answers_its_share() -> None:
    """Until it gets another role; a share that changes leaves its place among them."""
    first = RoleChange("r0004", "challenger", A, 2, share=0.1)
    second = RoleChange("r0005", "challenger", A, 3)
    found = standings(*THREE, first, second)
    assert (["r0004", "r0005"], 0.1, 0.0) == (
        found.challengers(A), found.share("r0004"), found.share("r0005")
    )  # fmt: skip
    raised = standings(*THREE, first, second, msgspec.structs.replace(first, share=0.3))
    assert (["r0004", "r0005"], 0.3) == (raised.challengers(), raised.share("r0004"))
    promoted = standings(*THREE, first, second, RoleChange("r0004", "promoted", A, 4))
    assert (["r0005"], 0.0, "champion") == (
        promoted.challengers(A), promoted.share("r0004"), promoted.role("r0004")
    )  # fmt: skip


def test_challengers_are_of_one_schema() -> None:
    """Those of others stand beside other champions."""
    mine, other = RoleChange("r0004", "challenger", A, 2), RoleChange("r0005", "challenger", "b", 3)
    found = standings(*THREE, mine, other)
    assert ["r0004"] == found.challengers(A)
    assert ["r0004", "r0005"] == found.challengers()


WATCHED = RoleChange("r0004", "promoted", A, 5, "trial", watched="r0003")


def test_a_former_champion_is_watched() -> None:
    """It is still the former champion, and stands beside the one that took its place."""
    beside = RoleChange("r0005", "challenger", A, 2)
    found = standings(*THREE, beside, WATCHED)
    assert ("r0003", "former", "r0003") == (
        found.watched(A), found.role("r0003"), found.former(A)
    )  # fmt: skip
    assert (["r0003", "r0005"], 0.0) == (found.challengers(A), found.share("r0003"))


@pytest.mark.parametrize(
    "after",
    [
        RoleChange("r0003", "unwatched", A, 6, "trial"),
        RoleChange("r0003", "retired", A, 6, "ann"),
        RoleChange("r0005", "published", A, 6),
        RoleChange("r0003", "rolled_back", A, 6, "trial", instead_of="r0004"),
    ],
)
def test_a_watch_ends(after: RoleChange) -> None:
    """When it is over, or either of the two gets another role."""
    found = standings(*THREE, WATCHED, after)
    assert found.watched(A) is None
    assert "r0003" not in found.challengers(A)


def test_the_end_of_a_watch_changes_no_role() -> None:
    """A rollback to it is still possible."""
    found = standings(*THREE, WATCHED, RoleChange("r0003", "unwatched", A, 6, "trial"))
    assert ("former", "r0003", "r0004") == (
        found.role("r0003"), found.former(A), champion(found, A)
    )  # fmt: skip


def test_a_watch_goes_on_while_another_catches_up() -> None:
    """Beside the one that answers, until the new champion does; it may be given up."""
    found = standings(*THREE, WATCHED, published("r0005"))
    assert [None, "r0003", None] == [
        found.watched(A, answering) for answering in ("", "r0004", "r0005")
    ]
    assert (["r0003"], []) == (found.challengers(A, "r0004"), found.challengers(A, "r0005"))
    given_up = RoleChange("r0005", "given_up", A, 7, "worker")
    assert "r0003" == standings(*THREE, WATCHED, published("r0005"), given_up).watched(A)


def test_the_newest_watch_counts() -> None:
    """Of a champion that was promoted itself the watch is its own, whoever still answers."""
    newer = RoleChange("r0005", "promoted", A, 6, "trial", watched="r0004")
    assert "r0004" == standings(*THREE, WATCHED, newer).watched(A, "r0004")


def test_a_schema_is_alone_without_challengers_and_watches() -> None:
    """Those of another schema are not its own."""
    beside = RoleChange("r0005", "challenger", "b", 3)
    assert standings(*THREE, beside).is_alone(A)
    assert not standings(*THREE, beside).is_alone("b")
    assert not standings(*THREE, WATCHED).is_alone(A)
    assert not standings(*THREE, WATCHED, published("r0005")).is_alone(A)
