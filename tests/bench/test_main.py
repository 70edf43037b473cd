"""The benchmark runner."""

import pytest

from bench.__main__ import main, names


def test_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    """`list` prints one line for each benchmark and runs none."""
    code = main(["list"])
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert (0, names()) == (code, printed)


def test_unknown_benchmark_says_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name ends with code 2 and the names there are."""
    code = main(["nothing"])
    assert (2, True) == (code, "found 'nothing'; allowed: list" in capsys.readouterr().err)
