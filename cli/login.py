"""Who gives an order on the command line, where it does not say."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

By = Annotated[str, typer.Option(metavar="WHO", help="Who wants it; the login name by default.")]


def login_name() -> str:
    """The login name, or the user's number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"
