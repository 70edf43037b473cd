"""Run a benchmark: `python -m bench list`, `python -m bench NAME [--quick] [--json FILE]`.

A benchmark is a module of this folder with a public `run(quick: bool) -> dict[str, object]`
that returns the fields of the result file; a module whose name begins with `_` is not listed. One
whose length can be told takes `minutes: float` as well.
"""

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """Every benchmark in this folder, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if not file.name.startswith("_"))


def purpose(name: str) -> str:
    """The first line of a benchmark's docstring, read without importing it."""
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").lstrip('"').splitlines()
    return lines[0].rstrip('"') if lines else ""


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark or list them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", help="a benchmark, or 'list'")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work?")
    parser.add_argument("--minutes", type=float, help="how long each search, or all swaps, take")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    chosen = parser.parse_args(arguments)
    if chosen.name == "list":
        for name in names():
            print(f"{name:24} {purpose(name)}")
        return 0
    if chosen.name not in names():
        allowed = ", ".join(["list", *names()])
        print(f"benchmark: found {chosen.name!r}; allowed: {allowed}", file=sys.stderr)
        return 2
    bench = importlib.import_module(f"bench.{chosen.name}")
    told = {} if chosen.minutes is None else {"minutes": chosen.minutes}
    if unknown := told.keys() - inspect.signature(bench.run).parameters:
        print(f"{chosen.name}: found --{unknown.pop()}; allowed: --quick, --json", file=sys.stderr)
        return 2
    result = bench.run(quick=chosen.quick, **told)
    text = json.dumps(result, indent=2, sort_keys=True)
    if chosen.json is None:
        print(text)
    else:
        chosen.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
