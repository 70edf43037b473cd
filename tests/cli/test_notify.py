"""The operator's command hears of every end, and can do no harm."""

import json
import sys
import time
from pathlib import Path

import pytest

from cli.notify import Hook, notify


def script(tmp_path: Path, program: str) -> str:
    """A command line that runs this Python program."""
    file = tmp_path / "hook.py"
    file.write_text(program)
    return f"{sys.executable} {file}"


def test_the_result_comes_as_json(tmp_path: Path) -> None:
    """On standard input; a quoted argument stays one, and no shell is asked."""
    out = tmp_path / "out $(id)"
    command = script(tmp_path, "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())")
    notify(f"{command} '{out}'", {"outcome": "published", "rows": 3})
    assert {"outcome": "published", "rows": 3} == json.loads(out.read_text())


@pytest.mark.parametrize("command", [None, "", "/no/such/command", "'unclosed"])
def test_a_command_that_cannot_be_run_is_only_logged(command: str | None) -> None:
    """Nothing is raised."""
    notify(command, {})


def test_a_command_that_fails_is_only_logged(tmp_path: Path) -> None:
    """Nor where it ends with a code."""
    notify(script(tmp_path, "raise SystemExit(7)"), {})


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    """With what it started, after its limit."""
    hook = Hook(script(tmp_path, "import time; time.sleep(60)"), limit_seconds=0.2)
    began = time.monotonic()
    hook.tell({})
    assert hook.look()
    hook.finish()
    assert not hook.look()
    assert time.monotonic() - began < 20
