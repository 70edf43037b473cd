"""A retrain publishes and announces, or says why not; it can be started at any time."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_trainer import Nearest

import batch.run
import tidemill
from batch.exit_codes import ExitCode
from batch.publish.orders import Order, roll_back
from batch.retrain import Options, RetrainResult, _key, retrain
from batch.run import Runs
from batch.stages import Stages
from features.archive.events import Rules
from learners.release import ModelFile
from learners.trees import FrozenTrees
from tidemill.clock import FakeClock
from tidemill.dataset_rule import DatasetRule
from tidemill.declaration import Gate, Project
from tidemill.durations import DAY_MS
from tidemill.errors import ArtifactError, BusUnavailable, LockedError, TrainingFailed
from tidemill.label import Label
from tidemill.learner_kinds import Linear, TreeHead
from tidemill.registry import Registry
from tidemill.schema import schema_of
from tidemill.trainer_kinds import OwnModel
from tidemill.wire import Announcement

MAY_1_MS = 1_367_366_400_000
CLOCK = FakeClock(1_400_000_000_000)


def run(project: Project, home: Path, said: list[Announcement] | None = None) -> RetrainResult:
    """Retrain on one thread; announcements go to `said`."""
    heard = [] if said is None else said
    return retrain(project, home, heard.append, CLOCK, Options(threads=1))


def test_the_first_release(project: Project, backfilled: Path) -> None:
    """A release appears in the registry with its facts and is announced under its digest."""
    said: list[Announcement] = []
    result = run(project, backfilled, said)
    assert (ExitCode.PUBLISHED, "r0001", ()) == (result.exit_code, result.release, result.reasons)
    registry = Registry(backfilled, "p")
    manifest = registry.manifest("r0001")
    facts = (manifest.project, manifest.rows, manifest.schema, manifest.offsets)
    assert ("p", 20 * 144, schema_of(project).hash, {}) == facts
    assert (MAY_1_MS, CLOCK.now_ms()) == (manifest.trained_from_ms, manifest.created_ms)
    assert 7 == manifest.parameters["leaves"]
    assert result.dataset.classes["1"] == manifest.metrics["positives"]
    assert (result.run, result.dataset.id) == (manifest.run, manifest.dataset)
    assert 0.8 < manifest.metrics["gate_candidate_auc"]
    data = (registry.folder / "r0001" / "manifest.json").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    assert [Announcement("release", "head", "r0001", 0, sha256, CLOCK.now_ms())] == said
    text = registry.read(manifest, "model.txt")
    assert 10 == len(FrozenTrees.parse(text).leaf_counts)


def test_the_release_is_trained_on_all_rows(project: Project, backfilled: Path) -> None:
    """After the gate the holdout is trained on too."""
    run(project, backfilled)
    registry = Registry(backfilled, "p")
    text = registry.read(registry.manifest("r0001"), "model.txt").decode()
    counts = next(line for line in text.splitlines() if line.startswith("leaf_count="))
    assert 20 * 144 == sum(map(int, counts.removeprefix("leaf_count=").split()))


def test_the_next_release_knows_its_offsets(
    project: Project, backfilled: Path, go_live: Callable[..., None]
) -> None:
    """The second release beats what was answered and says from where its learner catches up."""
    run(project, backfilled)
    go_live(backfilled)
    result = run(project, backfilled)
    assert (ExitCode.PUBLISHED, "r0002") == (result.exit_code, result.release)
    assert "r0001" == result.report.champion_release
    manifest = Registry(backfilled, "p").manifest("r0002")
    assert {"examples:0": 1440, "sequence:0": 720, "sequence:1": 720} == manifest.offsets


def test_a_worse_candidate_is_refused(
    project: Project, backfilled: Path, go_live: Callable[..., None]
) -> None:
    """Nothing is published or announced, and the reason says both numbers."""
    run(project, backfilled)
    labels = np.random.default_rng(5).integers(0, 2, 1440)
    go_live(backfilled, label=labels, score=np.where(labels == 1, 0.9, 0.1))
    said: list[Announcement] = []
    result = run(project, backfilled, said)
    assert (ExitCode.REFUSED, None, []) == (result.exit_code, result.release, said)
    assert ["r0001"] == Registry(backfilled, "p").names()
    assert result.reasons[0].startswith("worse_log_loss: found ")


def test_nothing_new_is_refused(project: Project, backfilled: Path) -> None:
    """A second retrain on the same rows has nothing the champion does not know already."""
    run(project, backfilled)
    result = run(project, backfilled)
    assert ExitCode.REFUSED == result.exit_code
    (reason,) = result.reasons
    assert reason.startswith("too_few_rows: found 0 rows asked and labelled in the holdout of 5d (")
    assert "that champion r0001 was not trained on (2013-05-21 " in reason


def test_an_empty_archive(project: Project, tmp_path: Path) -> None:
    """Without examples there is nothing to judge."""
    result = run(project, tmp_path)
    assert (ExitCode.NOTHING_TO_TRAIN_ON, None) == (result.exit_code, result.report)


def test_another_retrain_is_left_alone(project: Project, backfilled: Path) -> None:
    """A second process gives up at once."""
    with Registry(backfilled, "p").lock(), pytest.raises(LockedError, match="another retrain of p"):
        run(project, backfilled)
    assert ExitCode.PUBLISHED == run(project, backfilled).exit_code


def test_a_broker_that_is_down(project: Project, backfilled: Path) -> None:
    """The release stays published; the exit code says that nobody was told."""

    def announce(announcement: Announcement) -> None:
        raise BusUnavailable("down")

    result = retrain(project, backfilled, announce, CLOCK, Options(threads=1))
    assert (ExitCode.NOT_ANNOUNCED, "r0001") == (result.exit_code, result.release)
    assert ["r0001"] == Registry(backfilled, "p").names()


def test_the_same_data_gives_the_same_model(
    make_project: Callable[..., Project], backfilled: Path
) -> None:
    """Two runs, even under other learners and gates, publish equal bytes."""
    texts = []
    for project in (make_project(), make_project(learner=TreeHead("other", 0.1))):
        run(project, backfilled)
        registry = Registry(backfilled, "p")
        texts.append(registry.read(registry.manifest("r0001"), "model.txt"))
        registry.folder.rename(backfilled / f"aside{len(texts)}")
    assert texts[0] == texts[1]


def test_a_range_of_time(project: Project, backfilled: Path) -> None:
    """Only the examples asked for are trained on."""
    rule = DatasetRule(from_ms=MAY_1_MS + DAY_MS, to_ms=MAY_1_MS + 19 * DAY_MS)
    assert 18 * 144 == run(replace(project, dataset=rule), backfilled).dataset.rows


def test_new_features_start_without_a_champion(
    make_project: Callable[..., Project], backfilled: Path, go_live: Callable[..., None]
) -> None:
    """A champion of another schema cannot score these vectors: nothing is compared."""
    run(make_project(), backfilled)
    changed = make_project(features=make_project().features[::-1])
    go_live(backfilled, schema=[schema_of(changed).hash] * 1440)
    gate = Gate(holdout="5d", min_rows=100)
    result = run(replace(changed, gate=gate), backfilled)
    assert (ExitCode.PUBLISHED, None) == (result.exit_code, result.report.champion_release)
    dataset = result.dataset
    assert (20 * 144 + 1440, 0, {}) == (dataset.rows, dataset.backfilled, dataset.left_out)


def test_a_damaged_champion_stops_the_retrain(project: Project, backfilled: Path) -> None:
    """A champion whose bytes changed is an error to look into, not one to train over."""
    run(project, backfilled)
    path = backfilled / "releases/p/r0001/model.txt"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=r"release r0001: model.txt: sha256"):
        run(project, backfilled)


def test_a_damaged_manifest_comes_with_ways_out(
    project: Project, backfilled: Path, go_live: Callable[..., None]
) -> None:
    """Another release is made to answer, or the folder goes; then retrains go on."""
    run(project, backfilled)
    go_live(backfilled)
    run(project, backfilled)
    registry, schema = Registry(backfilled, "p"), schema_of(project).hash
    (registry.folder / "r0002/manifest.json").write_bytes(b"{}")
    words = r"release r0002: .*\. It is the champion.*`tidemill models rollback`.*remove .*r0002: "
    with pytest.raises(ArtifactError, match=words):
        run(project, backfilled)
    roll_back(registry, schema, None, Order("ann", CLOCK.now_ms()))
    result = run(project, backfilled)
    assert ("r0001", "r0003") == (result.report.champion_release, result.release)
    (registry.folder / "r0003/manifest.json").write_bytes(b"{}")
    with pytest.raises(ArtifactError, match="It is the champion"):
        run(project, backfilled)
    shutil.rmtree(registry.folder / "r0003")
    assert "r0001" == run(project, backfilled).report.champion_release


def test_exit_codes_are_those_documented() -> None:
    """Cron jobs rely on the numbers."""
    codes = {code.name.lower(): int(code) for code in ExitCode}
    expected = {"published": 0, "failed": 1, "user_error": 2, "refused": 3, "locked": 4}
    assert {**expected, "nothing_to_train_on": 5, "not_announced": 6} == codes


def test_a_failure_is_noted_and_gone_on_with(
    make_project: Callable[..., Project], backfilled: Path
) -> None:
    """What ended an attempt stands in the run; the next one begins where it failed."""
    failures = ["no memory left"]

    class Fails(Nearest):
        """Fails once."""

        def train(self, *rows: object) -> bytes:
            """Raise what is left to be raised."""
            if failures:
                raise RuntimeError(failures.pop())
            return super().train(*rows)

    project = make_project(trainer=OwnModel("fails", Fails), learner=Linear())
    with pytest.raises(TrainingFailed, match="no memory left"):
        run(project, backfilled)
    record = Runs(backfilled, "p").record("run0001")
    assert ("candidate", "") == (record.stage, record.outcome)
    assert "no memory left" in record.error
    assert ExitCode.PUBLISHED == run(project, backfilled).exit_code
    record = Runs(backfilled, "p").record("run0001")
    assert (2, "", "published") == (record.attempts, record.error, record.outcome)


class Interrupted(BaseException):
    """Stands for the end of the process."""


def interrupted(monkeypatch: pytest.MonkeyPatch, stage: str, project: Project, home: Path) -> None:
    """A retrain that ends just before one of its stages is entered as done."""
    whole = batch.run.Run.stage

    def ends(run: batch.run.Run, name: str, make: Callable[[], Any]) -> dict[str, bytes]:
        found = whole(run, name, make)
        if name == stage:
            run.forget(name)
            raise Interrupted
        return found

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(batch.run.Run, "stage", ends)
        run(project, home)


def test_a_dataset_that_was_removed_is_made_again(
    project: Project,
    backfilled: Path,
    go_live: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of what the archive has by now, and so is all that was made of the old one."""
    interrupted(monkeypatch, "gate", project, backfilled)
    (removed,) = (backfilled / "datasets/p").glob("d*")
    shutil.rmtree(removed)
    go_live(backfilled)
    result = run(project, backfilled)
    assert (ExitCode.PUBLISHED, "run0001") == (result.exit_code, result.run)
    assert 20 * 144 + 1440 == result.dataset.rows == result.report.rows
    assert result.dataset.id == Registry(backfilled, "p").manifest("r0001").dataset


def test_a_champion_that_was_removed_is_not_compared_with(
    project: Project,
    backfilled: Path,
    go_live: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that is gone on with takes the one that is there by then."""
    run(project, backfilled)
    go_live(backfilled)
    interrupted(monkeypatch, "gate", project, backfilled)
    shutil.rmtree(backfilled / "releases/p/r0001")
    result = run(project, backfilled)
    assert (ExitCode.PUBLISHED, "run0002") == (result.exit_code, result.run)
    assert (None, "") == (
        result.report.champion_release, Registry(backfilled, "p").manifest("r0002").parent,
    )  # fmt: skip


def test_a_release_is_published_once_though_the_clock_goes_back(
    project: Project, backfilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed just after it had published finds its release, whatever the time."""
    clock = FakeClock(CLOCK.now_ms())

    def told(announcement: Announcement) -> None:
        """Nobody listens."""

    next_name = Registry.next_name

    def set_back(registry: Registry) -> str:
        clock.advance(-DAY_MS // 4)
        return next_name(registry)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Registry, "next_name", set_back)
        patched.setattr(Registry, "enter", _ends)
        retrain(project, backfilled, told, clock, Options(threads=1))
    result = retrain(project, backfilled, told, clock, Options(threads=1))
    assert ("r0001", ["r0001"]) == (result.release, Registry(backfilled, "p").names())


def _ends(*_: object) -> None:
    raise Interrupted


def test_what_a_run_depends_on_is_in_its_key(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is gone on with only by what would have given the same."""
    project = make_project()
    others = (
        _key(project, Options(rules=Rules(skew_ms=1))),
        _key(make_project(label=Label(key=("kind",), wait="2d")), Options()),
        _key(make_project(dataset=DatasetRule(where="x1 > 1")), Options()),
        _key(make_project(dataset=DatasetRule(where="x1 < 1")), Options()),
    )
    key = _key(project, Options(threads=3))
    monkeypatch.setattr(tidemill, "__version__", "another")
    assert 2 + len(others) == len({key, _key(project, Options()), *others})
    monkeypatch.undo()
    assert key == _key(make_project(), Options())


def test_a_champion_that_changes_meanwhile_is_judged_against(
    project: Project,
    backfilled: Path,
    go_live: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An order that comes between the gate and publication has the candidate judged again."""
    run(project, backfilled)
    go_live(backfilled)
    assert "r0002" == run(replace(project, gate=Gate("4d", 0.02, 100)), backfilled).release
    trained = Stages.release

    def ordered_meanwhile(stages: Stages, *about: object) -> ModelFile:
        if "r0002" == stages.registry.champion():
            schema = schema_of(project).hash
            roll_back(stages.registry, schema, None, Order("someone", CLOCK.now_ms()))
        return trained(stages, *about)

    monkeypatch.setattr(Stages, "release", ordered_meanwhile)
    result = run(replace(project, gate=Gate("3d", 0.02, 100)), backfilled)
    assert (ExitCode.PUBLISHED, "r0003") == (result.exit_code, result.release)
    assert "r0001" == result.report.champion_release
    assert "r0001" == Registry(backfilled, "p").manifest("r0003").parent
