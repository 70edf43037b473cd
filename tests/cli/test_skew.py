"""The skew command prints what the meter found and ends with a code that cron understands."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import cli.skew
from batch import skew as meter
from batch.skew import SkewReport
from cli.main import app

RUNNER = CliRunner()
PROJECT = Path(__file__).resolve().parents[2] / "examples" / "flights" / "project.py"
GOOD = SkewReport(10, 10, 10, 0, 0)
BAD = SkewReport(10, 8, 4, 1, 3, 2, {"late": 2, "expired": 1}, {"due_count_origin_3h": 3})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Reports to be found one after the other, and what was asked, published and waited for."""
    found = SimpleNamespace(reports=[], samples=[], published=[], waited=[])

    def measure(*arguments: object) -> SkewReport:
        found.samples.append(arguments[-1])
        if not found.reports:
            raise KeyboardInterrupt
        return found.reports.pop(0)

    async def publish(*arguments: object) -> None:
        found.published.append(arguments[-1])

    monkeypatch.setattr(meter, "measure_skew", measure)
    monkeypatch.setattr(cli.skew, "_publish", publish)
    monkeypatch.setattr(time, "sleep", found.waited.append)
    return found


@pytest.mark.parametrize(("report", "code"), [(GOOD, 0), (BAD, 6), (SkewReport(), 0)])
def test_the_exit_code_says_whether_the_limit_holds(
    looks: SimpleNamespace, report: SkewReport, code: int
) -> None:
    """6 above the limit, with an alert; 0 else."""
    looks.reports = [report]
    result = RUNNER.invoke(app, ["skew", str(PROJECT), "--json"])
    assert code == result.exit_code
    found = json.loads(result.output)
    assert (report.checked, report.rate) == (found["checked"], found["rate"])
    assert [code == 6] == [began_ms > 0 for began_ms in looks.published]


def test_a_person_reads_the_causes(looks: SimpleNamespace) -> None:
    """One line of numbers, one for each cause."""
    looks.reports = [BAD]
    result = RUNNER.invoke(app, ["skew", str(PROJECT), "--limit", "1"])
    assert 0 == result.exit_code
    first, *causes = result.output.splitlines()
    assert first.startswith("3 of 8 vectors differ (37.5000%; limit 100.0000%); 4 are equal")
    assert ["  late: 2", "  expired: 1"] == causes


def test_looking_again_and_again(looks: SimpleNamespace) -> None:
    """Each look begins where the one before ended; an alert begins once, and ends once."""
    looks.reports = [GOOD, BAD, BAD, GOOD]
    result = RUNNER.invoke(app, ["skew", str(PROJECT), "--every", "5min"])
    assert 130 == result.exit_code
    assert [300.0] * 4 == looks.waited
    seen = [sample.seen_ms for sample in looks.samples]
    assert [0, *(sample.settled_ms for sample in looks.samples[:-1])] == seen
    none, began, still, ended = looks.published
    assert (0, True, 0, began) == (none, began > 0, still, ended)


@pytest.mark.parametrize(
    ("option", "value"), [("--share", "2"), ("--limit", "-1"), ("--since", "soon")]
)
def test_a_mistake_is_one_line(option: str, value: str) -> None:
    """Option, found and allowed; exit code 2."""
    result = RUNNER.invoke(app, ["skew", str(PROJECT), option, value])
    assert (2, True) == (result.exit_code, f"{option}: found" in result.output)
