"""Fuzz the decoders with atheris: `python tests/fuzz/fuzz.py NAME… --runs N [--jobs 2] [--json F]`.

`all` stands for every harness. Each runs in a process of its own until so many inputs were tried;
an input that crashed a decoder is kept beside the corpus as `NAME-crash-…`; `--input FILE` tries it
again. The corpus grows from run to run.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPUS = ROOT / ".fuzz"
LONGEST_BYTES, LONGEST_SECONDS, MOST_MEGABYTES = 4_096, 20, 4_096
ROOTS = ("api", "features", "learners", "streams", "tidemill")
DONE = re.compile(r"Done (\d+) runs in (\d+) second")


def compiled() -> list[str]:
    """The modules with code for Numba, which cannot compile bytecode rewritten for coverage."""
    files = (file for root in ROOTS for file in (ROOT / root).rglob("*.py"))
    found = (file for file in files if "numba" in file.read_text(encoding="utf-8"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in found]


def fuzz_here(name: str, runs: int, corpus: Path) -> None:
    """Fuzz one decoder in this process; ends the process."""
    import atheris

    with atheris.instrument_imports(include=[*ROOTS, f"fuzz_{name}"], exclude=compiled()):
        from harness import load

        harness = load(name)
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(harness.seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
    options = {
        "runs": runs, "max_len": LONGEST_BYTES, "timeout": LONGEST_SECONDS,
        "rss_limit_mb": MOST_MEGABYTES, "print_final_stats": 1,
        "artifact_prefix": f"{corpus / name}-",
    }  # fmt: skip
    told = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *told, str(folder)], harness.run)
    atheris.Fuzz()


def fuzz_beside(name: str, runs: int, corpus: Path) -> dict[str, object]:
    """Fuzz one decoder in a process of its own; what came of it."""
    corpus.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, __file__, name, "--runs", str(runs), "--corpus", str(corpus))
    started, log = time.monotonic(), corpus / f"{name}.log"
    with log.open("wb") as file:
        ended = subprocess.run((*command, "--here"), stdout=file, stderr=file, check=False)
    text = log.read_text(errors="replace")
    done = DONE.search(text)
    found = {
        "decoder": name, "runs": int(done[1]) if done else 0, "exit_code": ended.returncode,
        "seconds": round(time.monotonic() - started, 1), "crashed": ended.returncode != 0,
    }  # fmt: skip
    print(json.dumps(found), flush=True)
    if found["crashed"]:
        print("\n".join(text.splitlines()[-40:]), file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Run what was asked for; 0 when nothing crashed and every run was made."""
    sys.path[:0] = [str(HERE), str(ROOT)]
    from harness import load, names

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help=f"all, or some of: {', '.join(names())}")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each decoder")
    parser.add_argument("--jobs", type=int, default=2, help="decoders at a time")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="where inputs are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it here")
    parser.add_argument("--input", type=Path, metavar="FILE", help="try this input alone")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    wanted = names() if chosen.names == ["all"] else chosen.names
    if unknown := set(wanted) - set(names()):
        parser.error(f"found {sorted(unknown)}; allowed: all, {', '.join(names())}")
    if chosen.input is not None:
        print("good" if load(wanted[0]).run(chosen.input.read_bytes()) else "refused")
        return 0
    if chosen.here:
        fuzz_here(wanted[0], chosen.runs, chosen.corpus)
    with ThreadPoolExecutor(chosen.jobs) as pool:
        found = list(pool.map(lambda n: fuzz_beside(n, chosen.runs, chosen.corpus), wanted))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    complete = all(int(str(each["runs"])) >= chosen.runs for each in found)
    return 0 if complete and not any(each["crashed"] for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
