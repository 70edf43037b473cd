"""The contract's runner: how many cases there were, and what it asks for."""

from pathlib import Path

from contract import cases_of, command


def test_cases_are_found_in_the_report() -> None:
    """Wherever the report counts them; none where it does not."""
    report = {"summary": {"test_cases": {"generated": 512, "skipped": 3}}, "phases": [{"cases": 9}]}
    assert (512, 0) == (cases_of(report), cases_of({"verdict": "failed"}))


def test_a_run_is_stateful_and_checks_all() -> None:
    """Every phase and check, over both protocols."""
    told = " ".join(command(8088, Path("o.json"), Path("r.json"), 5, 7))
    expected = ("--checks all", "stateful", "schemathesis.toml run", "^/v[12]/", "--seed 7")
    assert [] == [each for each in expected if each not in told]
