"""The scheduler as a process: its file, its jobs, its queue's commands, and kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from batch.schedule.job import JobRequest
from batch.schedule.queue import PROJECTS, JobQueue
from cli.main import app
from cli.retrain_process import queue_for
from tidemill.clock import SystemClock

PROJECT = """
import tidemill as tm
paid = tm.Event("paid", key="card", fields={"card": str, "amount": float})
request = tm.Request({"card": str, "amount": float})
project = tm.Project(
    name="cards", events=(paid,), request=request,
    features=(tm.RequestFeature("amount", request.amount),),
    label=tm.Label(key=("card",), wait="1h"), trainer=tm.LightGBM(), learner=tm.TreeHead(),
    gate=tm.Gate(),
)
"""
SCHEDULE = """
cores = 1
[projects.cards]
file = "project.py"
[cron.weekly]
at = "0 3 * * 1"
project = "cards"
kind = "retrain"
"""


class Home:
    """A folder with a schedule, and commands run on it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.home = folder, folder / "home"
        (folder / "project.py").write_text(PROJECT)
        (folder / "schedule.toml").write_text(SCHEDULE)
        monkeypatch.setenv("TIDEMILL_HOME", str(self.home))
        for name in ("KAFKA", "REDIS", "NOTIFY"):
            monkeypatch.delenv(f"TIDEMILL_{name}", raising=False)
        self.running: list[subprocess.Popen[bytes]] = []

    def call(self, *words: str, code: int = 0) -> str:
        """What a command prints; it must end with this code."""
        done = CliRunner().invoke(app, list(words))
        assert code == done.exit_code, done.output
        return done.output

    def json(self, *words: str) -> Any:
        """The same as JSON."""
        return json.loads(self.call(*words[:2], "--json", *words[2:]))

    def start(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """A scheduler as a process of its own."""
        command = [sys.executable, "-m", "tidemill", "scheduler"]
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                [*command, str(self.folder / "schedule.toml"), *options],
                env={**os.environ, **environment},
                stderr=log,
            )
        self.running.append(child)
        return child

    def know(self) -> None:
        """Have the queue know the project, as after a scheduler's first turn."""
        with closing(JobQueue(self.home)) as queue:
            queue.tell(PROJECTS, {"cards": JobRequest("cards", "retrain", production=True)})

    def log(self) -> str:
        """What the schedulers logged."""
        return (self.folder / "log").read_text()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A home whose schedulers end with the test."""
    made = Home(tmp_path, monkeypatch)
    yield made
    for child in made.running:
        child.kill()
        child.wait()


def wait_for(look: Callable[[], Any]) -> Any:
    """What it gives, as soon as it gives anything."""
    deadline = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_schedule_is_checked(home: Home) -> None:
    """Also its project files: the names must agree, or drift would not find its queue."""
    found = home.json("scheduler", str(home.folder / "schedule.toml"), "--check")
    assert ("cards", ["cards"]) == (found["cron"]["weekly"]["project"], found["projects"])
    assert "weekly: cards retrain at 0 3 * * 1 UTC" in home.call(
        "scheduler", str(home.folder / "schedule.toml"), "--check"
    )
    wrong = SCHEDULE.replace("cards", "ships")
    (home.folder / "schedule.toml").write_text(wrong)
    home.call("scheduler", str(home.folder / "schedule.toml"), "--check", code=2)


def test_a_job_goes_through_the_whole_scheduler(home: Home) -> None:
    """Submitted, started, ended, told, shown; without archive there is nothing to plan."""
    home.know()
    out = home.folder / "told.jsonl"
    hook = home.folder / "hook.py"
    hook.write_text(f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read() + chr(10))")
    number = home.json("jobs", "submit", "cards", "plan", "--attempts", "1", "--", "--json")["id"]
    assert "no scheduler runs" == home.json("jobs", "list")["waiting"][0]["why"]
    child = home.start("--until-idle", TIDEMILL_NOTIFY=f"{sys.executable} {hook}")
    assert 0 == child.wait(60)
    (end,) = home.json("jobs", "list", "--project", "cards")["ended"]
    assert (number, "failed", 2) == (end["id"], end["outcome"], end["exit_code"])
    told = json.loads(out.read_text())
    assert ("job", number, "failed", "plan --json") == (
        told["event"], told["id"], told["outcome"], told["what"],
    )  # fmt: skip
    shown = home.call("jobs", "show", str(number))
    assert "TIDEMILL_REDIS" in shown
    assert "a mistake in project" in home.call("jobs", "list")


def test_a_job_can_be_cancelled_and_run_again(home: Home) -> None:
    """Where its state allows it."""
    home.know()
    number = str(home.json("jobs", "submit", "cards", "skew", "--gpu", "a=2")["id"])
    assert "waiting" == home.json("jobs", "retry", number)["state"]
    assert "cancelled" == home.json("jobs", "cancel", number)["outcome"]
    assert f"job {number}: found ended" in home.call("jobs", "cancel", number, code=2)
    assert "waiting" == home.json("jobs", "retry", number)["state"]
    home.call("jobs", "show", "99", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ships", "skew"), "PROJECT: found ships; allowed: one of cards"),
        (("cards", "rm"), "KIND: found rm; allowed: one of retrain"),
        (("cards", "skew", "--memory", "big"), "--memory: found 'big'"),
        (("cards", "skew", "--time-limit", "soon"), "--time-limit: found 'soon'"),
        (("cards", "skew", "--gpu", "=1"), "--gpu: found '=1'"),
    ],
)
def test_what_no_scheduler_would_start_is_refused(home: Home, words: tuple, message: str) -> None:
    """With what is allowed."""
    home.know()
    assert message in home.call("jobs", "submit", *words, code=2)


def test_without_a_scheduler_ever_there_is_no_project(home: Home) -> None:
    """The message says what to start."""
    assert "start `tidemill scheduler` once" in home.call("jobs", "submit", "cards", "skew", code=2)


def test_a_second_scheduler_refuses_and_drift_uses_the_queue(home: Home) -> None:
    """Exit code 4; the retrain that drift starts waits there once, as production."""
    enqueue = queue_for("cards", home.home, SystemClock())
    assert not enqueue("drift")
    first = home.start()
    wait_for(lambda: "scheduler started" in home.log())
    wait_for(lambda: home.json("jobs", "list")["seen_ms"] and projects(home))
    assert 4 == home.start().wait(60)
    assert not queue_for("ships", home.home, SystemClock())("drift")
    assert enqueue("drift")
    wait_for(lambda: any(j["origin"] == "drift" for j in everything(home)))
    (job,) = [j for j in everything(home) if j["origin"] == "drift"]
    assert (True, "cards: retrain") == (job["production"], job["what"])
    first.send_signal(signal.SIGTERM)
    assert 0 == first.wait(60)
    assert not enqueue("drift")


def projects(home: Home) -> bool:
    """Whether the scheduler has told of its projects."""
    with closing(JobQueue(home.home)) as queue:
        return bool(queue.projects())


def everything(home: Home) -> list[Any]:
    """All jobs of the list."""
    found = home.json("jobs", "list")
    return [*found["waiting"], *found["running"], *found["ended"]]


def test_kill_9_of_the_scheduler_runs_a_job_again_once(home: Home) -> None:
    """Its process ends with it, and the next scheduler starts it anew."""
    home.know()
    # A look that waits for its next one: it runs until it is ended.
    number = home.json("jobs", "submit", "cards", "skew", "--", "--every", "1h")["id"]
    first = home.start()
    running = wait_for(lambda: home.json("jobs", "list")["running"])
    pid = int(wait_for(lambda: home.json("jobs", "list")["running"][0]["place"]).split()[1][:-1])
    assert ("cards: skew --every 1h", 1) == (running[0]["what"], running[0]["attempt"])
    first.kill()
    first.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    home.start()
    wait_for(lambda: [r for r in home.json("jobs", "list")["running"] if r["attempt"] == 2])
    job = home.json("jobs", "show", str(number))
    assert ("running", 0, 1) == (job["state"], job["failures"], job["interruptions"])
    home.call("jobs", "cancel", str(number))
    assert "cancelled" == wait_for(lambda: home.json("jobs", "list")["ended"])[0]["outcome"]


def test_sighup_reads_the_schedule_again(home: Home) -> None:
    """A mistake in it leaves the old one in force."""
    child = home.start()
    wait_for(lambda: "scheduler started" in home.log())
    (home.folder / "schedule.toml").write_text("cores = 0")
    child.send_signal(signal.SIGHUP)
    wait_for(lambda: "schedule not read again" in home.log())
    (home.folder / "schedule.toml").write_text(SCHEDULE)
    child.send_signal(signal.SIGHUP)
    wait_for(lambda: "schedule read again" in home.log())
    child.terminate()
    assert 0 == child.wait(60)
