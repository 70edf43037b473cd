"""A prediction is replayed by a process of its own: one at a time, niced, within a time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from api.http.call import Call
from api.http.errors import Refused
from api.resources.replay import ReplayProcess, ReplayRoute

FOUND, UNKNOWN, SLOW, BROKEN = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)
SCRIPT = f"""
import json, os, sys, time
*options, dashes, name = sys.argv[1:]
if name == {SLOW!r}:
    open(os.environ["BEGUN"], "w").close()
    time.sleep(60)
if name == {BROKEN!r}:
    sys.exit("the disk: full")
told = {{"id": name, "options": options, "nice": os.nice(0), "told": os.environ.get("TOLD")}}
unknown = name == {UNKNOWN!r}
print("a project file may print")
print(json.dumps({{"predictions": [] if unknown else [told], "unknown": [name] * unknown}}))
sys.exit(2 if unknown else 6)
"""


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A file that is there when the slow replay is under way."""
    return tmp_path / "begun"


def replays(tmp_path: Path, begun: Path, limit_seconds: float = 60.0) -> ReplayProcess:
    """Runs the script as if it were the command."""
    script = tmp_path / "replay.py"
    script.write_text(SCRIPT)
    told = dict(os.environ) | {"TOLD": "so", "BEGUN": str(begun)}
    command = (sys.executable, str(script))
    return ReplayProcess(command, told, tmp_path / "home" / "p.lock", limit_seconds)


async def refusal(replay: ReplayProcess, prediction: str) -> tuple[int, str, bool]:
    """Status and cause of what is refused, and whether to come again."""
    with pytest.raises(Refused) as caught:
        await replay(prediction)
    return caught.value.status, caught.value.problem.cause, caught.value.retry_after


async def test_the_answer_is_what_the_command_prints(tmp_path: Path, begun: Path) -> None:
    """It is told the environment, how long it may take and to be nice."""
    found = json.loads(await replays(tmp_path, begun)(FOUND))
    assert (FOUND, ["--json", "--seconds", "65"], "so") == (
        found["id"], found["options"], found["told"],
    )  # fmt: skip
    assert min(os.nice(0) + 15, 19) == found["nice"]


async def test_what_is_not_archived_is_404(tmp_path: Path, begun: Path) -> None:
    """The command ends with a code for it."""
    assert (404, "unknown_prediction", False) == await refusal(replays(tmp_path, begun), UNKNOWN)


async def test_a_command_that_fails_is_503(tmp_path: Path, begun: Path) -> None:
    """The log has what it said."""
    assert (503, "replay_failed", True) == await refusal(replays(tmp_path, begun), BROKEN)


async def test_a_command_that_is_not_there_is_503(tmp_path: Path) -> None:
    """Nothing can be started."""
    replay = ReplayProcess((str(tmp_path / "nothing"),), {"PATH": "/nowhere"}, tmp_path / "lock")
    assert (503, "replay_failed", True) == await refusal(replay, FOUND)


async def test_two_at_once_are_too_many(tmp_path: Path, begun: Path) -> None:
    """Also by another process of the api, which has a lock of the same name; later it may."""
    replay = replays(tmp_path, begun)
    running = asyncio.create_task(replay(SLOW))
    while not begun.exists():
        await asyncio.sleep(0.01)
    for other in (replay, replays(tmp_path, begun)):
        assert (503, "replay_busy", True) == await refusal(other, FOUND)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert FOUND == json.loads(await replay(FOUND))["id"]


async def test_one_that_takes_too_long_is_ended(tmp_path: Path, begun: Path) -> None:
    """And the next may begin."""
    replay = replays(tmp_path, begun, 0.2)
    assert (503, "replay_too_long", True) == await refusal(replay, SLOW)
    assert (503, "replay_too_long", True) == await refusal(replay, SLOW)


async def test_the_route_names_the_prediction() -> None:
    """What cannot be an id is never looked for."""
    asked = []

    async def replay(prediction: str) -> bytes:
        asked.append(prediction)
        return b"{}"

    route = ReplayRoute(replay)
    scope = {"path": f"/v1/predictions/{FOUND}/replay", "query_string": b"", "headers": []}
    assert b"{}" == await route.look(Call(scope, []))
    assert [FOUND] == asked
    with pytest.raises(Refused) as caught:
        await route.look(Call(scope | {"path": "/v1/predictions/--help/replay"}, []))
    assert 404 == caught.value.status
    assert [FOUND] == asked
