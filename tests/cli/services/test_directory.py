"""The claim on a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.services.directory import claim_directory
from tidemill.errors import LockedError, ServiceError


def test_a_second_claim_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    """While one claim stands the next is refused, naming the directory and the process."""
    claim = claim_directory(tmp_path / "data")
    with pytest.raises(LockedError, match=f"{tmp_path}/data is in use.*process {os.getpid()};"):
        claim_directory(tmp_path / "data", wait_seconds=0)
    claim.release()


def test_a_released_claim_can_be_taken_again(tmp_path: Path) -> None:
    """Releasing, even twice, makes room for the next claim."""
    claim = claim_directory(tmp_path)
    claim.release()
    claim.release()
    claim_directory(tmp_path, wait_seconds=0).release()


def test_a_child_that_holds_the_descriptor_keeps_the_claim(tmp_path: Path) -> None:
    """The directory stays claimed while a server that inherited the lock is alive."""
    claim = claim_directory(tmp_path)
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(claim.descriptor,)) as child:
        claim.release()
        with pytest.raises(LockedError):
            claim_directory(tmp_path, wait_seconds=0)
        child.communicate(b"\n")
    claim_directory(tmp_path, wait_seconds=0).release()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path through a file is refused with the path and the system's reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match=f"{tmp_path}/file/data: Not a directory"):
        claim_directory(tmp_path / "file" / "data")
