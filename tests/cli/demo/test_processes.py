"""The demo's child processes."""

import os
import sys
import time

import pytest

from cli.demo.processes import Child, child, environment
from tidemill.errors import ServiceError
from tidemill.settings import Settings

UNTIL_TERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
print("ready", flush=True)
while True: time.sleep(0.01)
"""


def start(tmp_path, code: str) -> Child:
    """A Python process that has said that it is ready."""
    made = child("worker", (sys.executable, "-c", code), dict(os.environ), tmp_path)
    made.start()
    deadline = time.monotonic() + 10
    while "ready" not in made.launch.log_file.read_text() and made.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return made


def test_stop_waits_for_the_clean_end(tmp_path):
    """SIGTERM, then the child's own exit code; its peak memory is kept."""
    made = start(tmp_path, UNTIL_TERM.format(code=7))
    made.require_running()
    assert made.stop() == 7
    assert made.peak_mb() > 1
    with pytest.raises(ServiceError, match="worker is not running"):
        _ = made.pid


def test_child_that_ended_is_named_with_its_log(tmp_path):
    """The error shows how it ended and its last words."""
    made = start(tmp_path, "print('bad news'); raise SystemExit(3)")
    with pytest.raises(
        ServiceError, match=r"worker ended by itself \(exit code 3\)[\s\S]*bad news"
    ):
        made.require_running()
    made.kill()


def test_environment_says_where_everything_is(tmp_path):
    """Addresses, folder and partitions of the run reach its children."""
    settings = Settings(
        kafka="127.0.0.1:1", redis="redis://127.0.0.1:2/0", home=tmp_path, partitions=3
    )
    found = environment(settings)
    assert found["TIDEMILL_KAFKA"] == "127.0.0.1:1"
    assert found["TIDEMILL_REDIS"] == "redis://127.0.0.1:2/0"
    assert (found["TIDEMILL_HOME"], found["TIDEMILL_PARTITIONS"]) == (str(tmp_path), "3")
