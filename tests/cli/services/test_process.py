"""Child processes: started, watched, stopped, and never left behind."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from cli.services.process import Launch, ServerProcess, last_lines, run_to_end
from tidemill.errors import ServiceError


def launch(directory: Path, code: str, **options: object) -> Launch:
    """A launch of `python -c code` that counts as ready once it wrote a file named `ready`."""
    return Launch(
        name="Server",
        arguments=(sys.executable, "-c", code),
        directory=directory,
        log_file=directory / "server.log",
        environment=os.environ,
        **{"ready": (directory / "ready").exists, **options},  # type: ignore[arg-type]
    )


READY_THEN_WAIT = "import signal, pathlib; pathlib.Path('ready').touch(); signal.pause()"


def is_alive(pid: int) -> bool:
    """Whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_runs_until_it_is_stopped(tmp_path: Path) -> None:
    """A ready server has a process id, and stop() ends that process; a second stop is quiet."""
    server = ServerProcess(launch(tmp_path, READY_THEN_WAIT))
    server.start()
    pid = server.pid
    server.require_running()
    assert is_alive(pid)
    server.stop()
    server.stop()
    assert not is_alive(pid)
    with pytest.raises(ServiceError, match="Server is not running"):
        _ = server.pid


def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    """A server deaf to SIGTERM is gone after stop_seconds all the same."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY_THEN_WAIT
    server = ServerProcess(launch(tmp_path, code, stop_seconds=0.05))
    server.start()
    pid = server.pid
    server.stop()
    assert not is_alive(pid)


def test_a_server_that_dies_at_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """The error of a failed start carries the exit code and the end of the log."""
    code = "import sys; print('no such disk'); sys.exit(3)"
    with pytest.raises(
        ServiceError, match=r"(?s)Server did not start \(exit code 3\).*server.log:\n  no such disk"
    ):
        ServerProcess(launch(tmp_path, code)).start()


def test_a_server_that_is_never_ready_is_stopped_and_reported(tmp_path: Path) -> None:
    """The deadline ends the wait and the child, with a message that says how long it was."""
    server = ServerProcess(launch(tmp_path, "import signal; signal.pause()", start_seconds=0.1))
    with pytest.raises(ServiceError, match="Server was not ready after 0.1 s; its log .* is empty"):
        server.start()
    with pytest.raises(ServiceError, match="not running"):
        _ = server.pid


def test_a_server_that_ended_by_itself_is_noticed(tmp_path: Path) -> None:
    """After the child ended, require_running() raises and says how it ended."""
    server = ServerProcess(launch(tmp_path, READY_THEN_WAIT))
    server.start()
    os.kill(server.pid, 9)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ServiceError, match=r"Server ended by itself \(signal SIGKILL\)"):
        server.require_running()
    server.stop()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """A program that does not exist gives an error with its path."""
    missing = Launch("Server", ("/no/such/program",), tmp_path, tmp_path / "log", {})
    with pytest.raises(ServiceError, match="Server cannot be started: .*/no/such/program"):
        ServerProcess(missing).start()


@pytest.mark.skipif(sys.platform != "linux", reason="binding to the parent is Linux's")
def test_only_the_main_thread_may_start_a_server(tmp_path: Path) -> None:
    """A start from another thread is refused: the server would end with that thread."""
    errors: list[Exception] = []

    def start() -> None:
        try:
            ServerProcess(launch(tmp_path, READY_THEN_WAIT)).start()
        except ServiceError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert ["main thread" in str(error) for error in errors] == [True]


def test_the_log_of_the_start_before_is_kept(tmp_path: Path) -> None:
    """A new start moves the old log aside and does not grow it."""
    run_to_end(launch(tmp_path, "print('first')"))
    run_to_end(launch(tmp_path, "print('second')"))
    assert ["second"] == last_lines(tmp_path / "server.log")
    assert ["first"] == last_lines(tmp_path / "server.log.previous")


def test_a_command_that_fails_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """A failed command's error carries its exit code and the end of its log."""
    with pytest.raises(ServiceError, match=r"(?s)Server failed \(exit code 1\).*  bad disk"):
        run_to_end(launch(tmp_path, "raise SystemExit('bad disk')"))


def test_a_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """A command over its time is killed and named."""
    with pytest.raises(ServiceError, match="did not end after 0.1 s"):
        run_to_end(launch(tmp_path, "import signal; signal.pause()", start_seconds=0.1))
