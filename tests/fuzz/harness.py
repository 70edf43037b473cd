"""What a harness is: a decoder given any bytes, the errors it may raise, and real input.

A module `fuzz_NAME.py` has `ALLOWED`, `seeds()` and `one(data)`. `one` decodes and uses the bytes
as the product does, and asserts what must hold of whatever passed; any error but those that are
allowed is a crash.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PREFIX = "fuzz_"


@dataclass(frozen=True)
class Harness:
    """One decoder under test."""

    name: str
    allowed: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]
    one: Callable[[bytes], Any]

    def run(self, data: bytes) -> bool:
        """Whether the bytes were good; raises whatever must not be raised."""
        try:
            self.one(data)
        except self.allowed:
            return False
        return True


def names() -> list[str]:
    """Every harness in this folder."""
    return sorted(file.stem.removeprefix(PREFIX) for file in FOLDER.glob(f"{PREFIX}*.py"))


def load(name: str) -> Harness:
    """Import a harness."""
    module = importlib.import_module(f"{PREFIX}{name}")
    return Harness(name, module.ALLOWED, module.seeds, module.one)
