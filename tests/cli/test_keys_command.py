"""Keys are made, listed, rotated and revoked from the command line, and all of it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tidemill.api_keys import KeyFile, digest_of
from tidemill.audit import AuditLog
from tidemill.loading import load_project

FILE = Path(__file__).parents[2] / "examples" / "flights" / "project.py"
PROJECT = load_project(FILE).name
RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of a user called ann."""
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "ann")
    return tmp_path


def run(group: str, command: str, *arguments: str, code: int = 0) -> str:
    """What the command prints, when it ends with this code."""
    result = RUNNER.invoke(app, [group, command, str(FILE), *arguments])
    assert code == result.exit_code, result.output
    return result.output


def found(group: str, command: str, *arguments: str) -> object:
    """The same as JSON."""
    return json.loads(run(group, command, *arguments, "--json"))


def test_a_key_is_made_and_shown_once(home: Path) -> None:
    """Its text is printed by itself on standard output, and never listed."""
    result = RUNNER.invoke(app, ["keys", "create", str(FILE), "shop", "--scope", "score"])
    key = result.stdout.strip()
    (kept,) = KeyFile(home, PROJECT).read() or []
    assert (0, kept.sha256) == (result.exit_code, digest_of(key))
    listed = run("keys", "list")
    assert kept.id in listed
    assert not any(secret in listed for secret in (key, kept.sha256))


def test_a_key_has_what_was_asked_for(home: Path) -> None:
    """Scopes, end and limit, as JSON too."""
    made = found(
        "keys", "create", "shop", "--scope", "score", "--scope", "label", "--expires", "90d",
        "--limit", "6000/1min",
    )  # fmt: skip
    (listed,) = found("keys", "list")
    assert (["score", "label"], 6000, 60, "active") == (
        listed["scopes"], listed["quota"], listed["window_seconds"], listed["state"],
    )  # fmt: skip
    assert 90 * 86_400_000 == listed["expires_ms"] - listed["created_ms"]
    assert ({*listed, "key"}, False) == ({*made}, "sha256" in listed)


def test_a_key_is_rotated_and_revoked(home: Path) -> None:
    """The new one stands for the old, which ends after a while; a revoked one has ended."""
    old = found("keys", "create", "shop", "--scope", "read")
    new = found("keys", "rotate", old["id"], "--keep", "1h", "--by", "ben")
    assert ("revoked", new["id"]) == (
        (ended := found("keys", "revoke", new["id"]))["state"], ended["id"],
    )  # fmt: skip
    first, second = found("keys", "list")
    assert (True, old["id"]) == (first["expires_ms"] is not None, second["instead_of"])
    shown = found("audit", "show")
    assert [("ann", "key_created"), ("ben", "key_rotated"), ("ann", "key_revoked")] == [
        (entry["actor"], entry["action"]) for entry in shown
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "shop"), "--scope: found nothing"),
        (("create", "shop", "--scope", "all"), "--scope: found 'all'"),
        (("create", "shop", "--scope", "read", "--expires", "soon"), "--expires: found 'soon'"),
        (("create", "shop", "--scope", "read", "--limit", "many"), "--limit: found 'many'"),
        (("create", "shop", "--scope", "read", "--limit", "5/500ms"), "--limit: found '5/500ms'"),
        (("create", "shop", "--scope", "read", "--limit", "0/1s"), "--limit: found '0/1s'"),
        (("revoke", "nothing"), "ID: found 'nothing'"),
        (("rotate", "nothing"), "ID: found 'nothing'"),
    ],
)
def test_a_mistake_is_one_line(home: Path, arguments: tuple[str, ...], said: str) -> None:
    """And nothing is written."""
    output = run("keys", *arguments, code=2)
    assert (True, 1) == (said in output, len(output.splitlines()))
    assert KeyFile(home, PROJECT).read() is None


def test_without_keys_the_list_says_so() -> None:
    """So that nobody takes it for closed."""
    assert "no keys: whoever reaches the api may" in run("keys", "list")
    assert [] == found("keys", "list")


def test_the_audit_log_is_verified(home: Path) -> None:
    """Whole: 0 and the newest hash; changed: 1 and the line."""
    assert "0 entries" in run("audit", "verify")
    for _ in range(2):
        run("keys", "create", "shop", "--scope", "read")
    verified = found("audit", "verify")
    assert (2, verified) == (
        verified["entries"],
        found("audit", "verify", "--head", verified["head"]),
    )
    path = AuditLog(home, PROJECT).path
    path.write_bytes(path.read_bytes().replace(b'"ann"', b'"bob"', 1))
    assert "line 1: found another content" in run("audit", "verify", code=1)


def test_the_audit_log_is_shown_by_kind() -> None:
    """The newest last, and only those asked for; nothing in it steers the terminal."""
    run("keys", "create", "shop", "--scope", "read", "--by", "\x1b[31mann")
    run("keys", "create", "till", "--scope", "read")
    shown = run("audit", "show", "--last", "1")
    assert ("till" in shown, "shop" in shown) == (True, False)
    assert "\x1b" not in run("audit", "show")
    assert "nothing yet" in run("audit", "show", "--action", "role")
