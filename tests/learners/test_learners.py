"""Every learner passes the same list of checks."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from checks import CHECKS, Case

# Each module case_*.py beside this one lists its cases as CASES.
CASES = [
    case
    for file in sorted(Path(__file__).parent.glob("case_*.py"))
    for case in importlib.import_module(file.stem).CASES
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_learner(make: Callable[[], Case], check: Callable[[Case], None]) -> None:
    """The learner passes the check named in the test's id."""
    check(make())
