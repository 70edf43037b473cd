"""What every command shares: the project's argument, and errors as exit codes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tidemill.declaration import Project
from tidemill.errors import (
    DeclarationError,
    InputError,
    LockedError,
    NoExamples,
    SettingsError,
    StateMissing,
    TidemillError,
)
from tidemill.loading import load_project
from tidemill.settings import Settings, read_settings

FAILURE, USER_ERROR, LOCKED, NO_EXAMPLES, INTERRUPTED = 1, 2, 4, 5, 130
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_PATH = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR)  # of a port, say, no path is named
ProjectFile = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's Python file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """A user's mistake is one line on stderr and exit code 2, another known failure code 1.

    A disk that is full, broken or lets nobody write there is such a failure. That another process
    holds the lock is 4, and that nothing is labelled yet is 5, whatever the command.
    """
    try:
        yield
    except NoExamples as error:
        _end(error, NO_EXAMPLES)
    except (DeclarationError, SettingsError, InputError, StateMissing) as error:
        _end(error, USER_ERROR)
    except LockedError as error:
        _end(error, LOCKED)
    except TidemillError as error:
        _end(error, FAILURE)
    except OSError as error:
        if error.errno not in _DISK and not (error.errno in _PATH and error.filename):
            raise
        where = f": {error.filename}" if error.filename else ""
        _end(OSError(f"the disk: {error.strerror}{where}"), FAILURE)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _end(error: Exception, code: int) -> None:
    typer.echo(f"tidemill: {error}", err=True)
    raise typer.Exit(code)


def prepare(file: Path) -> tuple[Project, Settings]:
    """The project and the settings a command works with."""
    return load_project(file), read_settings()


def check_out(option: str, path: Path) -> None:
    """Refuse a path that no file can be written to. Raises SettingsError."""
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise SettingsError(f"{option}: found {path}; allowed: a file in an existing folder")
