"""Where the parts of the program lie."""

from __future__ import annotations

from pathlib import Path


def parts_folder() -> Path:
    """Where `cli`, `api`, `streams` and the others lie: inside the wheel, else the checkout."""
    here = Path(__file__).resolve().parent
    shipped = here / "_parts"
    return shipped if shipped.is_dir() else here.parent
