"""Load a project file; a mistake in it becomes one clear error."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from tidemill.declaration import Project
from tidemill.errors import DeclarationError

_IMPORTED = "__tidemill_imported__"
PARTS = ("api", "batch", "cli", "console", "features", "learners", "streams")


def load_project(path: Path, again: bool = False) -> Project:
    """Run the file and return the one `Project` it defines.

    With `again`, what it imported from its own folder the last time is run again as well. Raises
    DeclarationError naming the file (and the line, where Python knows it) for a file that is
    missing, does not import, defines no project or several, or whose folder hides one of Tidemill's
    own parts.
    """
    if not path.is_file():
        raise DeclarationError("project file", str(path), "a Python file that exists")
    _refuse_clashes(path)
    spec = importlib.util.spec_from_file_location(f"tidemill_project_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DeclarationError("project file", path.name, "a file ending in .py", str(path))
    module = importlib.util.module_from_spec(spec)
    if again:
        _forget_imports(module.__name__)
    before = set(sys.modules)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[module.__name__] = module  # dataclasses in the file look themselves up there
    try:
        spec.loader.exec_module(module)
    except DeclarationError as error:
        place = _line_in(path, error)
        raise DeclarationError(error.name, error.found, error.allowed, place) from None
    except (Exception, SystemExit) as error:
        found = f"{type(error).__name__}: {error}"
        raise DeclarationError("import", found, "code that runs", _line_in(path, error)) from None
    finally:
        sys.path.remove(str(path.parent.resolve()))
        setattr(module, _IMPORTED, _imported_beside(path, before))
    projects = {id(v): v for v in vars(module).values() if isinstance(v, Project)}
    if len(projects) != 1:
        names = ", ".join(project.name for project in projects.values()) or "none"
        raise DeclarationError("project", names, "exactly one Project in the file", str(path))
    return next(iter(projects.values()))


def _imported_beside(path: Path, before: set[str]) -> list[str]:
    """The user's own modules that came since, from the project file's folder."""
    folder, ours = path.parent.resolve(), ("tidemill", *PARTS)
    found = []
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or name.partition(".")[0] in ours or "site-packages" in file:
            continue
        if folder in Path(file).resolve().parents:
            found.append(name)
    return found


def _forget_imports(name: str) -> None:
    for imported in getattr(sys.modules.get(name), _IMPORTED, ()):
        sys.modules.pop(imported, None)


def _refuse_clashes(path: Path) -> None:
    for part in PARTS:
        for clash in (path.parent / part, path.parent / f"{part}.py"):
            if clash.is_dir() or clash.is_file():
                allowed = f"names other than Tidemill's own parts: {', '.join(PARTS)}"
                raise DeclarationError(clash.name, str(clash), allowed, str(path))


def _line_in(path: Path, error: BaseException) -> str:
    """`file:line` of the innermost frame inside the project file."""
    places = (str(path), str(path.absolute()))  # Python makes the path of a module absolute
    if isinstance(error, SyntaxError) and error.filename in places and error.lineno:
        return f"{path}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename in places
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)
