"""Retrains at each month's end, started by nobody's hand, killed in every stage, and worth it.

May to December take half an hour, so it runs when asked for (TIDEMILL_KAFKA names a real broker):

    TIDEMILL_TEST_MONTHS=5-12 python -m pytest tests/e2e/test_year.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from killed_retrain import STAGES

from batch.run import Runs
from cli.demo.demo import run_demo
from cli.demo.options import DemoOptions, parse_months
from cli.services.ports import free_port
from tidemill.settings import Settings

HERE = Path(__file__).parent
MONTHS = os.environ.get("TIDEMILL_TEST_MONTHS", "")
"""Which months of 2013, such as 5-12; of fewer, not every stage has a retrain to be killed in."""
WORTH = 0.006  # AUC over the release that was trained once


@pytest.mark.skipif(not MONTHS, reason="TIDEMILL_TEST_MONTHS is not set")
def test_a_year_of_retrains(tmp_path: Path) -> None:
    """Each is promoted or refused with reasons, and all were killed once and gone on with."""
    first, last = parse_months(MONTHS)
    command = (sys.executable, str(HERE / "killed_retrain.py"), str(tmp_path / "killed"))
    options = DemoOptions(
        first, last, port=free_port(), retry=True,
        project=HERE / "year_project.py", retrain=command,
    )  # fmt: skip
    report = run_demo(options, Settings(home=tmp_path))
    runs = list(Runs(tmp_path / "demo", "flights").records())
    print({name: report[name] for name in ("auc", "log_loss", "retrains", "failed_requests")})
    print([(r.id, r.attempts, r.outcome, r.release, r.reasons) for r in runs])
    assert 0 == report["failed_requests"]
    assert len(options.retrains_ms) + 1 == len(runs)
    assert {"published", "refused"} >= {run.outcome for run in runs}
    assert all(run.reasons for run in runs if run.outcome == "refused")
    killed = [name for name in STAGES if (tmp_path / "killed" / name).exists()]
    assert list(STAGES[: len(killed)]) == killed
    assert len(killed) == sum(run.attempts == 2 for run in runs)
    if len(runs) >= len(STAGES):
        assert list(STAGES) == killed
        assert WORTH <= report["auc"]["service"] - report["auc"]["release"]
