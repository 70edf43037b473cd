"""The closed list of what a job may run, and what each command's exit codes mean to the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from batch.exit_codes import ExitCode

Again = Literal["no", "retry", "later"]


@dataclass(frozen=True, slots=True)
class Code:
    """An exit code: in words, and whether to run again: `later` is no failure, only too early."""

    meaning: str
    again: Again = "no"
    good: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A command that jobs may run.

    words: what follows `tidemill`; the project's file comes next, then the job's arguments
    threads: it has `--threads`
    alone: it takes a lock, so a second one for the same project waits in the queue instead
    """

    words: tuple[str, ...]
    threads: bool = False
    alone: bool = False
    codes: Mapping[int, Code] = field(default_factory=dict)

    def command(
        self, program: Sequence[str], file: Path, arguments: Sequence[str], cores: int
    ) -> tuple[str, ...]:
        """The whole command line; `program` starts `tidemill`."""
        threads = self.threads and "--threads" not in arguments
        extra = ("--threads", str(cores)) if threads else ()
        return (*program, *self.words, str(file), *arguments, *extra)

    def meaning(self, code: int) -> Code:
        """What an exit code says; one that is not listed is a failure that may not come again."""
        return self.codes.get(code) or _COMMON.get(code) or Code(f"exit code {code}", "retry")


_COMMON = {
    0: Code("done", good=True),
    1: Code("failed", "retry"),
    2: Code("a mistake in project, settings or options"),
    4: Code("another one is running", "later"),
    5: Code("nothing to train on yet"),
    130: Code("interrupted", "retry"),
}
_RETRAIN: dict[int, Code] = {
    ExitCode.PUBLISHED: Code("published", good=True),
    ExitCode.REFUSED: Code("refused by the gate: the champion stays", good=True),
    # Running it all again would publish the same once more; a worker finds it when it starts.
    ExitCode.NOT_ANNOUNCED: Code("published, but not announced: start the broker"),
}

KINDS: Mapping[str, Kind] = {
    "retrain": Kind(("retrain",), threads=True, alone=True, codes=_RETRAIN),
    "tune": Kind(("tune",), threads=True),
    "dataset": Kind(("dataset", "build")),
    "backfill": Kind(("backfill",), alone=True),
    "plan": Kind(("plan",)),
    "skew": Kind(("skew",), codes={6: Code("more vectors differ than allowed")}),
}
"""What writes nothing but its own results; what serves or needs a terminal is not in it."""
