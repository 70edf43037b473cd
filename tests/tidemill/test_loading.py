"""A project file is loaded, or one error says what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tidemill.errors import DeclarationError
from tidemill.loading import PARTS, load_project

GOOD = """\
from tidemill import Label, Project, Request, RequestFeature

request = Request({"card": str, "amount": float})
project = Project(
    name="shop",
    events=(),
    request=request,
    features=(RequestFeature("amount", request.amount),),
    label=Label(("card",), "1h"),
)
"""


def written(folder: Path, text: str) -> Path:
    """A project file with this text."""
    path = folder / "shop.py"
    path.write_text(text)
    return path


def mistake(path: Path) -> DeclarationError:
    """The error that loading the file raises."""
    with pytest.raises(DeclarationError) as caught:
        load_project(path)
    return caught.value


def test_a_good_file_gives_its_project(tmp_path: Path) -> None:
    """The one project of the file is returned."""
    assert "shop" == load_project(written(tmp_path, GOOD)).name


def test_two_names_for_one_project_are_one_project(tmp_path: Path) -> None:
    """An alias of the project does not count as a second one."""
    assert "shop" == load_project(written(tmp_path, GOOD + "alias = project\n")).name


def test_a_module_beside_the_file_can_be_imported(tmp_path: Path) -> None:
    """The file's folder is on the path while it runs, and gone from it afterwards."""
    (tmp_path / "shop_words.py").write_text("NAME = 'shop'\n")
    path = written(tmp_path, "import shop_words\n" + GOOD)
    before = list(sys.path)
    assert "shop" == load_project(path).name
    assert before == sys.path


def test_a_dataclass_with_postponed_annotations_works(tmp_path: Path) -> None:
    """A dataclass in the file finds its own module."""
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from typing import ClassVar\n\n@dataclass\nclass Words:\n    name: ClassVar[str] = 'a'\n"
    )
    assert "shop" == load_project(written(tmp_path, text + GOOD)).name


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path without a file says so."""
    error = mistake(tmp_path / "none.py")
    assert ("project file", str(tmp_path / "none.py")) == (error.name, error.found)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in place of the file says so."""
    assert "project file" == mistake(tmp_path).name


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A file that does not end in .py is refused."""
    path = tmp_path / "shop.txt"
    path.write_text(GOOD)
    assert ("shop.txt", "a file ending in .py") == (mistake(path).found, mistake(path).allowed)


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    """A syntax error names file and line."""
    path = written(tmp_path, "x = 1\ny = = 2\n")
    error = mistake(path)
    assert ("import", f"{path}:2") == (error.name, error.file)


def test_an_error_on_import_has_its_line(tmp_path: Path) -> None:
    """An exception while the file runs names type, text and line."""
    path = written(tmp_path, "x = 1\n\nimport no_such_module_here\n")
    error = mistake(path)
    expected = ("ModuleNotFoundError: No module named 'no_such_module_here'", f"{path}:3")
    assert expected == (error.found, error.file)


def test_a_relative_path_has_its_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is found when the file is named relative to the working folder."""
    written(tmp_path, "x = 1\nx / 0\n")
    monkeypatch.chdir(tmp_path)
    assert "shop.py:2" == mistake(Path("shop.py")).file


def test_a_file_that_exits_is_a_mistake(tmp_path: Path) -> None:
    """`sys.exit` in a project file does not end the process."""
    error = mistake(written(tmp_path, "import sys\nsys.exit(0)\n"))
    assert ("import", "SystemExit: 0") == (error.name, error.found)


def test_a_declaration_mistake_keeps_its_parts_and_gets_its_line(tmp_path: Path) -> None:
    """A mistake in a definition is reported at its line of the file."""
    path = written(tmp_path, GOOD.replace('"1h"', '"soon"'))
    error = mistake(path)
    assert ("Label.wait", "soon", f"{path}:9") == (error.name, error.found, error.file)


def test_a_file_without_a_project_is_a_mistake(tmp_path: Path) -> None:
    """A file must define a project."""
    assert "none" == mistake(written(tmp_path, "x = 1\n")).found


def test_two_projects_are_a_mistake(tmp_path: Path) -> None:
    """A file must define only one project; both are named."""
    text = GOOD + "import dataclasses\nsecond = dataclasses.replace(project, name='second')\n"
    assert "shop, second" == mistake(written(tmp_path, text)).found


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_that_hides_a_part_is_a_mistake(tmp_path: Path, part: str) -> None:
    """A folder or file named like one of Tidemill's parts is named."""
    (tmp_path / part).mkdir()
    path = written(tmp_path, GOOD)
    error = mistake(path)
    assert (part, str(tmp_path / part), str(path)) == (error.name, error.found, error.file)


def test_a_file_named_like_a_part_is_a_mistake(tmp_path: Path) -> None:
    """A module beside the project file clashes as a folder does."""
    (tmp_path / "api.py").write_text("")
    assert "api.py" == mistake(written(tmp_path, GOOD)).name


def test_loading_again_runs_again_what_it_imports(tmp_path: Path) -> None:
    """A module beside the project file that was edited meanwhile counts as it is now."""
    words = tmp_path / "shop_words_again.py"
    words.write_text("NAME = 'shop'\n")
    text = GOOD.replace('"shop"', "shop_words_again.NAME")
    path = written(tmp_path, "import shop_words_again\n" + text)
    assert "shop" == load_project(path).name
    words.write_text("NAME = 'warehouse'\n")
    assert "warehouse" == load_project(path, again=True).name
