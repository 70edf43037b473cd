"""A search tries, remembers, resumes and says what it found."""

from __future__ import annotations

import errno
import json
import struct
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_rows import made_rows
from slopes import failing, slopes, slow

from batch.datasets.dataset import Dataset
from batch.search.search import Found, SearchOptions, search
from tidemill import Between, Gate, LightGBM, Linear, LinearModel, OneOf, OwnModel, Project
from tidemill.clock import FakeClock
from tidemill.errors import TrainingFailed
from tidemill.label import Label
from tidemill.search import SAMPLERS

ONE = SearchOptions(threads=1)
SLOPE = {"slopes.slope": Between(0.01, 20.0, log=True)}
Searching = Callable[..., Project]


def tried(found: Found) -> list[tuple[Any, ...]]:
    """The trials as far as the clock has no part in them."""
    names = ("trial", "state", "origin", "loss", "best")
    points = sorted(found.report["history"], key=lambda point: point["trial"])
    return [(*(p[name] for name in names), json.dumps(p["settings"])) for p in points]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finds_and_repeats_itself(
    sampler: str, searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """With one job and a budget of trials the same seed tries the same, whatever the sampler."""
    families = (LinearModel(hash_bits=10), slopes())
    project = searching(sampler=sampler, families=families, space=SLOPE, trials=12)
    found = [search(project, rows, tmp_path / name, ONE) for name in ("one", "two")]
    assert tried(found[0]) == tried(found[1])
    assert found[0].settings == found[1].settings
    assert 0.4 < found[0].score < 0.6
    assert 12 == found[0].trials or "grid" == found[0].report["ended"]


def test_another_seed_tries_something_else(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """The seed is what decides."""
    settings = {"families": (slopes(),), "space": SLOPE}
    found = [search(searching(seed=n, **settings), rows, tmp_path, ONE) for n in (1, 2)]
    assert tried(found[0]) != tried(found[1])


def test_trees_get_as_many_rounds_as_help(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """Rounds are found by watching; the last trials are copies, and have half the rate."""
    leaves = {"lightgbm.leaves": OneOf((7,)), "lightgbm.feature_share": OneOf((0.5,))}
    project = searching(trials=12, time="30min", space=leaves)
    found = search(project, rows, tmp_path, ONE)
    assert isinstance(found.settings, LightGBM)
    assert 3 < found.settings.rounds < 1000
    origins = [point["origin"] for point in found.report["history"]]
    assert any("half the rate" in origin for origin in origins)
    assert any("copies of trial" in origin for origin in origins)
    # 958 of 1200 rows are learned before the cut: all of them take as many more rounds.
    steps = found.report["best"]["settings"]["rounds"]
    assert round(steps * len(rows) / 958) == found.settings.rounds


def test_numbers_are_searched_by_their_squared_error(
    make_project: Callable[..., Project], searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """A regression's score is the mean squared error."""
    project = replace(searching(trials=3), label=Label(key=("kind",), wait="1d", kind="number"))
    values = replace(rows, labels=3.0 * rows.vectors[:, 1].astype(np.float64))
    found = search(project, values, tmp_path, ONE)
    assert 0 < found.score < 2


def test_the_nets_layers_are_searched(searching: Searching, rows: Dataset, tmp_path: Path) -> None:
    """Width and depth become the hidden layers, half as wide each."""
    pytest.importorskip("torch")
    from tidemill import NetModel

    space = {"net.width": OneOf((16,)), "net.depth": OneOf((2,)), "net.embedding": OneOf((4,))}
    project = searching(families=(NetModel(epochs=2),), space=space, trials=1)
    found = search(project, rows, tmp_path, ONE)
    assert (16, 8) == found.settings.hidden  # type: ignore[attr-defined]
    assert 4 == found.settings.embedding  # type: ignore[attr-defined]


def test_a_killed_search_goes_on(searching: Searching, tmp_path: Path) -> None:
    """Nothing that was finished is trained again; what was running is."""
    log = tmp_path / "trained"
    script = tmp_path / "one.py"
    script.write_text(_SCRIPT.format(log=str(log), folder=str(tmp_path / "study"), at=5))
    command = [sys.executable, str(script), *sys.path]
    first = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert -9 == first.returncode, first.stderr
    second = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    trained = log.read_text().splitlines()
    assert trained[4] == trained[5]  # the fifth was killed, and is the first to be tried again
    assert 9 == len(trained)
    assert 8 == len(set(trained))
    assert 8 == json.loads(second.stdout)["trials"]
    third = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert second.stdout == third.stdout  # a search that is done trains nothing
    assert 9 == len(log.read_text().splitlines())


_SCRIPT = """
import json, sys
sys.path[:0] = sys.argv[1:]
from pathlib import Path
from known_rows import made_rows
from slopes import slopes
import tidemill as tm
from batch.search.search import SearchOptions, search
request = tm.Request({{"kind": str, "x1": float}})
project = tm.Project(
    name="p", events=(tm.Event("seen", key="kind", fields={{"kind": str}}),), request=request,
    features=(tm.RequestFeature("kind", tm.category(request.kind), categorical=True),
              tm.RequestFeature("x1", request.x1)),
    label=tm.Label(key=("kind",), wait="1d"), learner=tm.Linear(),
    search=tm.Search(families=(slopes(Path({log!r}), {at}),), trials=8, time="60s", folds=1,
                     space={{"slopes.slope": tm.Between(0.01, 20.0, log=True)}}),
)
found = search(project, made_rows(project), Path({folder!r}), SearchOptions(threads=1))
print(json.dumps({{"trials": found.trials, "score": found.score}}))
"""


def test_a_torn_line_of_the_journal_is_dropped(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """What was half written when the process died never happened."""
    families, space = (slopes(),), SLOPE
    search(searching(families=families, space=space, trials=3), rows, tmp_path, ONE)
    (journal,) = tmp_path.glob("*.journal")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    found = search(searching(families=families, space=space, trials=5), rows, tmp_path, ONE)
    assert 5 == found.trials
    assert b'"wor{' not in journal.read_bytes()


def test_a_second_project_starts_from_the_firsts_best(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """The first trial of another project on like data is what did best, and the report says so."""
    options = replace(ONE, earlier=tmp_path)
    settings = {"families": (slopes(),), "space": SLOPE, "trials": 8}
    first = search(searching(**settings), rows, tmp_path / "1", options)
    other = replace(searching(**settings), name="q")
    second = search(other, made_rows(other, seed=2), tmp_path / "2", options)
    best, begun = first.report["best"]["settings"], second.report["history"][0]
    assert best["slope"] == begun["settings"]["slope"]
    assert begun["origin"].startswith("p, study p-")
    (borrowed,) = second.report["borrowed"]
    assert ("p", best) == (borrowed["project"], borrowed["settings"])
    assert not first.report["borrowed"]


def test_without_neighbours_nothing_is_borrowed(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """A declaration may leave the memory out."""
    options = replace(ONE, earlier=tmp_path)
    settings = {"families": (slopes(),), "space": SLOPE, "trials": 2}
    search(searching(**settings), rows, tmp_path / "1", options)
    again = search(searching(**settings, neighbours=0, seed=3), rows, tmp_path / "2", options)
    assert [] == again.report["borrowed"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (lambda: ValueError("broken"), "broken"),
        (lambda: MemoryError("CUDA out of memory"), "out of memory"),
        (lambda: TrainingFailed("loss: found nan"), "loss: found nan"),
    ],
)
def test_a_trial_that_raises_is_recorded_and_the_search_goes_on(
    error: Callable[[], Exception], said: str, searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """Whatever a trainer raises ends its trial alone."""
    project = searching(families=(failing(2.0, error),), space=SLOPE, trials=10)
    found = search(project, rows, tmp_path, ONE)
    assert 10 == found.trials
    assert found.report["failed"] > 0
    every = json.loads((tmp_path / "search.json").read_text())["every_trial"]
    assert all(said in trial["reason"] for trial in every if trial["state"] == "failed")


def test_when_every_trial_fails_the_reasons_are_told(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """No settings are made up."""
    broken = failing(0.0, lambda: ValueError("no luck"))
    project = searching(families=(broken,), space=SLOPE, trials=3)
    with pytest.raises(
        TrainingFailed, match="found no model in 3 trials: OwnModel slopes.*no luck"
    ):
        search(project, rows, tmp_path, ONE)


def test_a_loss_that_is_no_number_fails_its_trial(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """NaN is never the best."""
    space = {"slopes.slope": OneOf((float(1), float("nan")))}
    found = search(searching(families=(slopes(),), space=space, trials=4), rows, tmp_path, ONE)
    assert 1.0 == dict(found.settings.settings)["slope"]  # type: ignore[attr-defined]


def test_a_model_beyond_the_gates_limits_is_not_chosen(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """It is recorded with what it exceeds; the best of the others is found."""
    few = {"lightgbm.rounds": OneOf((5, 10, 20)), "lightgbm.bins": OneOf((31,))}
    free = search(searching(trials=4, space=few), rows, tmp_path / "free", ONE)
    limit = free.report["best"]["model_bytes"] // 2
    limited = Gate(size_bytes=limit, latency_us=1e6)
    project = replace(searching(trials=8, space=few), gate=limited)
    found = search(project, rows, tmp_path / "small", ONE)
    assert found.report["best"]["model_bytes"] <= limit
    assert found.report["infeasible"] > 0
    assert 0 < found.report["best"]["row_us"] < 1e6


def test_time_and_cost_end_a_search(searching: Searching, rows: Dataset, tmp_path: Path) -> None:
    """By the clock: time, or time times cores, whichever is used up first."""
    for settings, options, ended, trials in (
        ({"time": "10s"}, {"threads": 2}, "time", 4),
        ({"time": "60s", "cost": "12s"}, {"threads": 2}, "cost", 2),
        ({"time": "60s", "trials": 3}, {"threads": 2}, "trials", 3),
    ):
        clock = FakeClock(1_000_000)
        project = searching(
            families=(slow(clock, 3.0),), space=SLOPE, **{"trials": None, **settings}
        )
        found = search(project, rows, tmp_path / ended, SearchOptions(clock=clock, **options))
        assert (ended, trials) == (found.report["ended"], found.trials)


def test_a_space_of_few_values_is_not_searched_for_ever(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """Settings are trained once; when nothing else is left, the search ends."""
    space = {"slopes.slope": OneOf((0.5, 1.0, 2.0))}
    log = tmp_path / "trained"
    project = searching(families=(slopes(log),), space=space, trials=None, sampler="random")
    found = search(project, rows, tmp_path / "study", ONE)
    assert "space" == found.report["ended"]
    assert 3 == len(log.read_text().splitlines())


def test_jobs_share_one_study(searching: Searching, rows: Dataset, tmp_path: Path) -> None:
    """Several trials at once, each of its own settings, and one report."""
    log = tmp_path / "trained"
    project = searching(families=(slopes(log),), space=SLOPE, trials=10)
    found = search(project, rows, tmp_path / "study", replace(ONE, jobs=3))
    assert found.trials in (10, 11, 12)  # those under way when the budget ends are finished
    assert len(log.read_text().splitlines()) == len(set(log.read_text().splitlines()))


def test_processes_share_a_study_by_its_storage(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """A second search with the same storage goes on with the first one's trials."""
    log = tmp_path / "trained"
    for storage in (str(tmp_path / "shared"), f"sqlite:///{tmp_path}/shared.db"):
        log.unlink(missing_ok=True)
        options = replace(ONE, storage=storage)
        settings = {"families": (slopes(log),), "space": SLOPE}
        search(searching(**settings, trials=3), rows, tmp_path / "1", options)
        found = search(searching(**settings, trials=6), rows, tmp_path / "2", options)
        assert 6 == found.trials
        assert 6 == len(log.read_text().splitlines())


def test_older_folds_are_scored_by_the_good_trials_only(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """A trial that is worse than the best on the newest fold is given up."""
    project = searching(families=(slopes(),), space=SLOPE, folds=3, trials=12)
    search(project, rows, tmp_path, ONE)
    every = json.loads((tmp_path / "search.json").read_text())["every_trial"]
    folds = {trial["state"]: set() for trial in every}
    for trial in every:
        folds[trial["state"]].add(len(trial["losses"]))
    assert {3} == folds["complete"]
    assert 3 not in folds["pruned"]


def test_the_report_has_plots(searching: Searching, rows: Dataset, tmp_path: Path) -> None:
    """The best by time, and what each setting decides, as well-formed SVG."""
    search(searching(families=(slopes(),), space=SLOPE, trials=12), rows, tmp_path, ONE)
    report = json.loads((tmp_path / "search.json").read_text())
    best = [point["best"] for point in report["history"]]
    assert best == sorted(best, reverse=True)
    assert {"slopes": {"slope": 1.0}} == report["importance"]
    for name in ("history.svg", "importance.svg"):
        assert xml.etree.ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")


def test_other_rows_are_another_study(searching: Searching, rows: Dataset, tmp_path: Path) -> None:
    """Losses on other rows cannot be compared, so nothing is gone on with."""
    project = searching(families=(slopes(),), space=SLOPE, trials=3)
    search(project, rows, tmp_path, ONE)
    search(project, made_rows(project, seed=5), tmp_path, ONE)
    assert 2 == len([*tmp_path.glob("*.journal")])


def test_progress_is_told_of_the_budget_and_the_best(
    searching: Searching, rows: Dataset, tmp_path: Path
) -> None:
    """All steps are advanced, and the note names the best loss by then."""

    class Heard:
        def __init__(self) -> None:
            self.steps, self.notes = 0, []

        def start(self, stage: str, steps: int) -> None:
            assert ("search", 100) == (stage, steps)

        def advance(self, steps: int = 1) -> None:
            self.steps += steps

        def note(self, text: str) -> None:
            self.notes.append(text)

    heard = Heard()
    project = searching(families=(slopes(),), space=SLOPE, trials=3)
    found = search(project, rows, tmp_path, replace(ONE, progress=heard))
    assert 100 == heard.steps
    assert f"search: 3 trials, best {found.score:.5f} (slopes)" == heard.notes[-1]


def test_without_a_declared_search_the_trainers_own_settings_are_searched(
    make_project: Callable[..., Project], rows: Dataset, tmp_path: Path
) -> None:
    """An own model without a space has one set of settings, and one trial of them."""
    project = make_project(trainer=OwnModel("slopes", slopes().make), learner=Linear())
    found = search(project, rows, tmp_path, ONE)
    assert "space" == found.report["ended"]
    assert struct.pack("<d", 1.0) == slopes().make().train()


def test_a_full_disk_ends_a_search_that_can_be_gone_on_with(
    searching: Searching, rows: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line may be written; what was finished before is still there."""
    from optuna.storages.journal import JournalFileBackend

    append, calls = JournalFileBackend.append_logs, [0]

    def full(backend: Any, logs: Any) -> None:
        calls[0] += 1
        if calls[0] > 60:
            with open(backend._file_path, "ab") as file:
                file.write(b'{"op_')
            raise OSError(errno.ENOSPC, "No space left on device")
        append(backend, logs)

    project = searching(families=(slopes(),), space=SLOPE, trials=8)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(JournalFileBackend, "append_logs", full)
        search(project, rows, tmp_path, ONE)
    assert not (tmp_path / "search.json").exists()
    assert 8 == search(project, rows, tmp_path, ONE).trials
