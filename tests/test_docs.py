"""What a user can run, set or scrape is documented, and the README prints the real project file."""

from pathlib import Path

from cli.main import app
from tidemill.metrics import NAMES
from tidemill.settings import Settings

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_every_command_is_documented() -> None:
    """A command that the operations page does not name cannot be found."""
    groups = {"": app} | {f"{g.name} ": g.typer_instance for g in app.registered_groups}
    commands = [
        group + (command.name or command.callback.__name__)
        for group, commands in groups.items()
        for command in commands.registered_commands
    ]
    assert [] == [name for name in commands if f"`tidemill {name}" not in OPERATIONS]


def test_every_setting_is_documented_with_its_default() -> None:
    """A setting stands in the table with the default it has."""
    missing = []
    for name, field in Settings.model_fields.items():
        default = "–" if field.default is None else field.default
        wanted = f"`TIDEMILL_{name.upper()}` | "
        line = next((each for each in OPERATIONS.splitlines() if wanted in each), "")
        if str(default) not in line.replace("`", ""):
            missing.append(name)
    assert [] == missing


def test_every_metric_is_documented() -> None:
    """A metric that the operations page does not name cannot be understood."""
    assert [] == [name for name in NAMES if f"`{name}`" not in OPERATIONS]


def test_the_readme_prints_the_flights_project() -> None:
    """What the README shows is what runs."""
    project = (ROOT / "examples" / "flights" / "project.py").read_text().strip()
    assert project in (ROOT / "README.md").read_text()
