"""A retrain runs beside the worker, one at a time, and its start is remembered."""

import os
import sys
import threading
from pathlib import Path

import pytest

from cli.retrain_process import RetrainProcess
from tidemill.clock import FakeClock

NOW = 1_400_000_000_000


class Ended:
    """Waits for the end of a child."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self._came = threading.Event()

    def note(self, code: int) -> None:
        """Called by the process, from its thread."""
        self.codes.append(code)
        self._came.set()

    def wait(self) -> list[int]:
        """The codes, once there is one."""
        assert self._came.wait(20)
        return self.codes


def made(tmp_path: Path, program: str, ended: Ended) -> RetrainProcess:
    """A process that runs this Python program."""
    command = (sys.executable, "-c", program)
    stamp = tmp_path / "sub" / "stamp"
    return RetrainProcess(command, dict(os.environ), stamp, FakeClock(NOW), ended.note)


def test_its_end_is_noted_with_its_code(tmp_path: Path) -> None:
    """A refusal by the gate is an end like any other."""
    ended = Ended()
    process = made(tmp_path, "raise SystemExit(3)", ended)
    assert process.last_started_ms() is None
    assert process.start("drift")
    assert [3] == ended.wait()
    assert NOW == made(tmp_path, "", ended).last_started_ms()


def test_never_two_at_once(tmp_path: Path) -> None:
    """A second one starts when the first has ended; a stop ends what runs."""
    ended = Ended()
    process = made(tmp_path, "import time; time.sleep(60)", ended)
    assert process.start("first")
    assert not process.start("second")
    process.stop()
    assert [-15] == ended.wait()
    assert process.start("third")
    process.stop()
    process.stop()


def test_a_command_that_is_not_there_is_only_logged(tmp_path: Path) -> None:
    """The worker learns on, and the cool-down is not used up."""
    process = RetrainProcess(("/no/such",), {}, tmp_path / "stamp", FakeClock(NOW))
    assert not process.start("drift")
    assert process.last_started_ms() is None
    process.stop()


@pytest.mark.parametrize("text", ["", "soon"])
def test_a_damaged_stamp_is_none(tmp_path: Path, text: str) -> None:
    """It would otherwise keep a worker from starting."""
    (tmp_path / "stamp").write_text(text)
    process = RetrainProcess(("true",), {}, tmp_path / "stamp", FakeClock(NOW))
    assert process.last_started_ms() is None


def test_a_scheduler_is_asked_first(tmp_path: Path) -> None:
    """What it takes starts no child, and counts for the cool-down; what it does not, starts one."""
    ended, asked = Ended(), []
    for answer in (True, False):
        process = RetrainProcess(
            (sys.executable, "-c", "raise SystemExit(5)"), dict(os.environ), tmp_path / "stamp",
            FakeClock(NOW), ended.note, lambda why, answer=answer: asked.append(why) or answer,
        )  # fmt: skip
        assert process.start("loss moved")
        assert NOW == process.last_started_ms()
    assert [5] == ended.wait()
    assert ["loss moved"] * 2 == asked
