"""Schemathesis against a real api: `python tests/fuzz/contract.py --cases N [--json FILE]`.

Starts embedded services and `tidemill api` with a release and a key of every scope, reads the api's
own OpenAPI document and runs all phases (examples, coverage, fuzzing, stateful) with all checks
over /v1 and /v2. The number of cases is what the report counts; where a run makes fewer than were
asked for, the next seed follows until there are enough. Exit code 0: no check failed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROJECT = HERE / "contract_project.py"
SCHEMATHESIS = ROOT / ".venv-fuzz" / "bin" / "st"
CONFIGURATION = HERE / "schemathesis.toml"
PATHS = "^/v[12]/"
# What the command line's own limit on one operation means for a whole run is found by running it.
FIRST_EXAMPLES, MOST_ROUNDS = 100, 50
START_SECONDS, ROUND_SECONDS = 60.0, 3_600.0


@dataclass
class Contract:
    """What the rounds came to."""

    cases: int = 0
    seconds: float = 0.0
    failures: list[Any] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)


@contextmanager
def real_api(folder: Path) -> Iterator[tuple[int, str]]:
    """`tidemill api` on services of its own: its port, and a key that may do everything."""
    from contract_project import prepare

    from cli.services.embedded import embedded_services
    from cli.services.ports import free_port
    from cli.services.process import Launch, ServerProcess

    with embedded_services(folder / "home") as endpoints:
        key = prepare(PROJECT, folder / "home", endpoints.redis)
        port, own = free_port(), {k: v for k, v in os.environ.items() if "TIDEMILL" not in k}
        told = {
            "TIDEMILL_KAFKA": endpoints.kafka, "TIDEMILL_REDIS": endpoints.redis,
            "TIDEMILL_HOME": str(folder / "home"), "TIDEMILL_PARTITIONS": "1",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        launch = Launch(
            "the api",
            (sys.executable, "-m", "tidemill", "api", str(PROJECT), "--port", str(port)),
            folder, folder / "api.log", own | told, lambda: _ready(port),
            start_seconds=START_SECONDS,
        )  # fmt: skip
        process = ServerProcess(launch)
        process.start()
        try:
            yield port, key
            process.require_running()
        finally:
            process.stop()
            sys.stderr.write(_errors_of(folder / "api.log"))


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except http.client.HTTPException:
        return False
    finally:
        connection.close()


def document_of(port: int, key: str, file: Path) -> Path:
    """The api's own document, which it shows to whoever has a key."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/openapi.json", headers={"x-api-key": key})
    file.write_bytes(connection.getresponse().read())
    connection.close()
    return file


def _errors_of(log: Path) -> str:
    """The lines of the api's log that tell of a failure."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "".join(f"{line}\n" for line in lines if "request_failed" in line or "critical" in line)


def command(port: int, document: Path, report: Path, examples: int, seed: int) -> list[str]:
    """One run of schemathesis; its configuration reads the key from the environment."""
    url = f"http://127.0.0.1:{port}"
    options = {
        "url": url, "checks": "all", "phases": "examples,coverage,fuzzing,stateful",
        "max-examples": examples, "seed": seed, "include-path-regex": PATHS,
        "report-json-path": report, "generation-database": ":memory:", "request-timeout": 10,
    }  # fmt: skip
    told = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    more = ("--continue-on-failure", "--suppress-health-check", "all", "--no-color")
    program = (str(SCHEMATHESIS), "--config-file", str(CONFIGURATION))
    return [*program, "run", str(document), *told, *more]


def run_once(arguments: Sequence[str], key: str, report: Path, contract: Contract) -> int:
    """One round; how many cases it made."""
    started = time.monotonic()
    report.unlink(missing_ok=True)
    ended = subprocess.run(
        arguments, cwd=report.parent, env=os.environ | {"CONTRACT_KEY": key}, check=False,
        timeout=ROUND_SECONDS,
    )  # fmt: skip
    contract.seconds += time.monotonic() - started
    contract.codes.append(ended.returncode)
    told = json.loads(report.read_text()) if report.exists() else {}
    contract.failures += told.get("failures", [])
    made = cases_of(told)
    contract.cases += made
    return made


def cases_of(report: Any) -> int:
    """The generated cases that a report counts, wherever its version has them."""
    if isinstance(report, dict):
        for name in ("test_cases", "cases", "total_cases"):
            found = report.get(name)
            if isinstance(found, dict):
                found = found.get("generated", found.get("total"))
            if isinstance(found, int):
                return found
        return max((cases_of(each) for each in report.values()), default=0)
    return 0


def main() -> int:
    """Run rounds until there were enough cases, or one failed."""
    sys.path[:0] = [str(HERE), str(ROOT)]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500, help="at least so many")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it here")
    chosen = parser.parse_args()
    if not SCHEMATHESIS.exists():
        print(f"{SCHEMATHESIS} is missing: run requirements/fuzz.sh", file=sys.stderr)
        return 2
    contract, examples = Contract(), min(FIRST_EXAMPLES, max(1, chosen.cases // 50))
    with TemporaryDirectory() as folder, real_api(Path(folder)) as (port, key):
        document = document_of(port, key, Path(folder) / "openapi.json")
        report = Path(folder) / "report.json"
        for number in range(MOST_ROUNDS):
            arguments = command(port, document, report, examples, chosen.seed + number)
            made = run_once(arguments, key, report, contract)
            if contract.codes[-1] or not made or contract.cases >= chosen.cases:
                break
    print(json.dumps(vars(contract), default=str, indent=2))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(vars(contract), default=str, indent=2) + "\n")
    return 1 if any(contract.codes) or contract.cases < chosen.cases else 0


if __name__ == "__main__":
    sys.exit(main())
