"""A retrain with everything declared: a search, a smaller model, a trainer of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
from own_trainer import Nearest

from batch.exit_codes import ExitCode
from batch.retrain import Options, RetrainResult, retrain
from batch.run import Runs
from learners.release import load_release
from tidemill import Compression, LightGBM, Linear, LinearModel, OwnModel, Project, Search
from tidemill.clock import FakeClock
from tidemill.registry import Registry
from tidemill.schema import schema_of

CLOCK = FakeClock(1_400_000_000_000)


def run(project: Project, home: Path) -> RetrainResult:
    """Retrain on one thread; nobody listens."""
    return retrain(project, home, lambda _: None, CLOCK, Options(threads=1))


def test_a_search_and_a_smaller_model(
    make_project: Callable[..., Project], backfilled: Path, tmp_path: Path
) -> None:
    """Both leave their reports in the run, and the same again gives the same bytes."""
    other = tmp_path / "other"
    shutil.copytree(backfilled, other, ignore=shutil.ignore_patterns("other"))
    search = Search(families=(LightGBM(leaves=7, rounds=20), LinearModel()), trials=4, folds=2)
    project = make_project(search=search, compression=Compression(smaller=2.0), learner=Linear())
    models = []
    for home in (backfilled, other):
        result = run(project, home)
        assert (ExitCode.PUBLISHED, ()) == (result.exit_code, result.reasons)
        registry = Registry(home, "p")
        (name,) = registry.manifest("r0001").files
        models.append(registry.read(registry.manifest("r0001"), name))
        folder = Runs(home, "p").folder / result.run
        found = msgspec.json.decode((folder / "search.json").read_bytes())
        smaller = msgspec.json.decode((folder / "compression.json").read_bytes())
        assert 4 <= found["trials"]
        assert smaller["bytes_after"] < smaller["bytes_before"]
    assert models[0] == models[1]


def test_a_model_of_ones_own(make_project: Callable[..., Project], backfilled: Path) -> None:
    """It goes through the same gate and is served by a learner that needs no trees."""
    trainer = OwnModel("nearest", Nearest, (("scale", 2.0),))
    project = make_project(trainer=trainer, learner=Linear())
    result = run(project, backfilled)
    assert (ExitCode.PUBLISHED, ()) == (result.exit_code, result.reasons)
    registry = Registry(backfilled, "p")
    release = load_release(registry, "r0001", project)
    assert schema_of(project).names == release.features
    assert {"trainer": "nearest", "scale": 2.0} == registry.manifest("r0001").parameters
