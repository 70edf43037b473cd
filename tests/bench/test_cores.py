"""Cores, and what a process and its descendants use and leave behind."""

import os
import subprocess
import sys

from bench._cores import cpu_seconds, end_all, family, on, two_cores

# A parent that starts a child and tells its id; the child outlives it.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_family_is_ended_whole() -> None:
    """A grandchild that outlived its parent is ended as well."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        members = family(parent.pid)
        parent.kill()
        parent.wait()
        end_all(members)
    assert ({parent.pid, grandchild}, {}) == (set(members), family(grandchild))


def test_used_time_is_that_of_the_whole_family() -> None:
    """At least what this process itself has used."""
    own = os.times()
    assert cpu_seconds(os.getpid()) >= round(own.user + own.system, 1) - 0.1


def test_a_core_is_left_again() -> None:
    """Inside, one core; afterwards what was allowed before."""
    before = os.sched_getaffinity(0)
    with on(two_cores().service):
        inside = os.sched_getaffinity(0)
    assert (1, before) == (len(inside), os.sched_getaffinity(0))
