"""Rows with a known answer, and a project that searches on them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this one

from known_rows import made_rows  # noqa: E402

from batch.datasets.dataset import Dataset  # noqa: E402
from tidemill import LightGBM, Linear, Project, Search  # noqa: E402


@pytest.fixture
def rows(project: Project) -> Dataset:
    """Some weeks of examples."""
    return made_rows(project)


@pytest.fixture
def searching(make_project: Callable[..., Project]) -> Callable[..., Project]:
    """A project whose search has these settings; few trials of few small trees otherwise."""

    def make(**settings: Any) -> Project:
        chosen = {
            "families": (LightGBM(leaves=7),),
            "trials": 6,
            "time": "60s",
            "folds": 1,
            **settings,
        }
        return make_project(search=Search(**chosen), learner=Linear())

    return make
