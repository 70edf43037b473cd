"""Every test that the security page names is there, and each of the ten risks names one."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def functions_of(file: str) -> set[str]:
    """The names of a file's test functions."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {function.name for function in functions}


def test_the_named_tests_exist() -> None:
    """A claim whose test was renamed or removed is none."""
    assert len(NAMED) > 40
    assert [] == [(file, name) for file, name in NAMED if name not in functions_of(file)]


def test_each_risk_names_its_tests() -> None:
    """OWASP API Security Top 10 2023, point by point."""
    sections = dict(re.findall(r"^### (API\d+):2023 .*?\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S))
    assert [f"API{number}" for number in range(1, 11)] == list(sections)
    assert [] == [name for name, text in sections.items() if "::test_" not in text]
