"""A schedule file says what it says, and every mistake in it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.schedule.entries import Schedule, read_schedule
from batch.schedule.job import JobRequest, Resources
from batch.schedule.planner import Quotas
from batch.schedule.resources import Room
from batch.schedule.ticks import Cron
from tidemill.errors import DeclarationError

WHOLE = """
cores = 3
memory = "16GB"
gpus = { h100 = ["0", "1"] }
preempt = true
dask = "tcp://10.0.0.1:8786"
dask_fallback = true

[projects.flights]
file = "projects/flights.py"
environment = { TIDEMILL_KAFKA = "broker:9092" }
cores = 2
memory = "8GB"
gpus = { h100 = 1 }

[projects.cards]
file = "/srv/cards.py"

[cron.monthly]
at = "0 3 1 * *"
timezone = "Europe/Berlin"
project = "flights"
kind = "retrain"
arguments = ["--json"]
class = "production"
priority = 5
cores = 2
memory = "4GiB"
gpus = { h100 = 1 }
time_limit = "6h"
attempts = 5

[cron.look]
at = "*/30 * * * *"
project = "cards"
kind = "skew"
class = "experiment"
"""


def read(tmp_path: Path, text: str) -> Schedule:
    """The schedule of this text on a machine of four cores."""
    (tmp_path / "schedule.toml").write_text(text)
    return read_schedule(tmp_path / "schedule.toml", range(4))


def test_the_whole_file_is_read(tmp_path: Path) -> None:
    """Projects, quotas, cron entries and where jobs run."""
    found = read(tmp_path, WHOLE)
    assert found.quotas == Quotas(
        (0, 1, 2), 16 * 10**9, {"h100": ("0", "1")},
        {"flights": Room(2, 8 * 10**9, {"h100": 1}), "cards": Room()}, True,
    )  # fmt: skip
    assert tmp_path / "projects/flights.py" == found.projects["flights"].file
    assert Path("/srv/cards.py") == found.projects["cards"].file
    assert Cron("0 3 1 * *", "Europe/Berlin") == found.cron["monthly"].cron
    assert found.cron["monthly"].request == JobRequest(
        "flights", "retrain", ("--json",), True, 5,
        Resources(2, 4 * 2**30, {"h100": 1}), 5, 6 * 3_600_000,
    )  # fmt: skip
    assert found.cron["look"].request == JobRequest("cards", "skew")
    assert ("tcp://10.0.0.1:8786", True) == (found.dask, found.dask_fallback)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cores = 3", "", "cores: found 'nothing'; allowed: with `dask` how many"),
        ("cores = 3", "cores = true", "cores: found True; allowed: a whole number"),
        ("preempt =", "prempt =", "prempt: found 'an entry nobody knows'; allowed: one of cores"),
        ("cores = 3", "cores = ", "schedule: found .* allowed: TOML"),
        ('"16GB"', '"lots"', "memory: found 'lots'; allowed: a size such as"),
        ('"16GB"', "16", "memory: found 16; allowed: a size such as"),
        ('["0", "1"]', '["0", "0"]', "gpus: found '0 twice'"),
        ('["0", "1"]', "[0]", "gpus.h100: found"),
        ("{ h100 = 1 }\n\n[p", "{ a = 1 }\n\n[p", "projects.flights.gpus.a: found 'a'; allowed"),
        ('file = "projects/flights.py"', "", "projects.flights.file: found 'nothing'"),
        ('"broker:9092"', "9092", "projects.flights.environment.TIDEMILL_KAFKA: found 9092"),
        ('project = "cards"', 'project = "ships"', "cron.look.project: found 'ships'; allowed"),
        ('kind = "skew"', 'kind = "rm"', "cron.look.kind: found 'rm'; allowed: one of retrain"),
        ('class = "experiment"', 'class = "x"', "cron.look.class: found 'x'; allowed"),
        ("*/30 * * * *", "*/30 * *", "cron.look.at: found .*; allowed: five fields"),
        ('"6h"', '"soon"', "cron.monthly.time_limit: found 'soon'; allowed"),
        ('["--json"]', "[1]", "cron.monthly.arguments: found"),
        ("attempts = 5", "attempts = 0", "cron.monthly.attempts: found 0; allowed"),
        ("[cron.look]", "[cron]\nlook = 1\n[x]", "cron.look: found 1; allowed: a table"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """With file, entry, what was found and what is allowed."""
    assert old in WHOLE
    with pytest.raises(DeclarationError, match=f"schedule.toml: {message}"):
        read(tmp_path, WHOLE.replace(old, new, 1))


def test_this_machine_has_no_more_cores_than_it_has(tmp_path: Path) -> None:
    """A cluster may have."""
    alone = WHOLE.replace('dask = "tcp://10.0.0.1:8786"', "")
    with pytest.raises(DeclarationError, match="cores: found 9; allowed: .* from 1 to 4"):
        read(tmp_path, alone.replace("cores = 3", "cores = 9", 1))
    assert 9 == len(read(tmp_path, WHOLE.replace("cores = 3", "cores = 9", 1)).quotas.cores)


def test_a_file_without_projects_or_that_is_not_there(tmp_path: Path) -> None:
    """There would be nothing to do."""
    with pytest.raises(DeclarationError, match="projects: found 'none'"):
        read(tmp_path, "")
    with pytest.raises(DeclarationError, match="No such file"):
        read_schedule(tmp_path / "none.toml", range(4))
