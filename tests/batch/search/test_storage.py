"""A journal is shared by processes, and outlives each of them."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from batch.search.storage import Journal, database, quiet
from batch.search.study import Start, Study
from tidemill.errors import ServiceError
from tidemill.search import Search


def test_a_worker_lives_until_it_closes(tmp_path: Path) -> None:
    """Its lock is the kernel's; one that is gone leaves nothing behind."""
    one, other = (Journal(tmp_path / "study") for _ in range(2))
    assert one.lives(other.worker)
    assert not one.alone()
    other.close()
    assert not one.lives(other.worker)
    assert one.alone()
    assert not one.lives("nobody")
    one.close()
    assert [] == [*tmp_path.glob("*.alive")]


def test_a_dead_workers_trial_is_entered_again(tmp_path: Path) -> None:
    """With its parameters; that of one who lives is left alone."""
    with quiet():
        dead = Study("s", Search(), tmp_path / "journal")
        dead.begin([Start({"x": 0.5}, "declared")], {}, 1)
        study = optuna.load_study(study_name="s", storage=dead.journal.storage())
        trial = study.ask()
        trial.set_user_attr("worker", dead.worker)
        trial.suggest_float("x", 0, 1)
        living = Study("s", Search(), tmp_path / "journal")
        assert 0 == living.take_over()
        dead.close()
        assert 1 == living.take_over()
        assert [] == living.trials()
        again = study.ask()
        assert 0.5 == again.suggest_float("x", 0, 1)
        assert "declared" == again.user_attrs["origin"]
        assert [TrialState.FAIL, TrialState.RUNNING] == [t.state for t in study.get_trials()]
        living.close()


def test_the_first_trials_are_entered_once(tmp_path: Path) -> None:
    """Also when the process was killed between two of them."""
    with quiet():
        starts = [Start({"x": float(place)}, "portfolio") for place in range(3)]
        for times in (1, 2):
            study = Study("s", Search(), tmp_path / "journal")
            if times == 1:
                study.enter(starts[1], {"start": 1})
            study.begin(starts, {}, times)
            study.close()
        found = optuna.load_study(study_name="s", storage=Journal(tmp_path / "journal").storage())
        entered = [t.system_attrs["fixed_params"]["x"] for t in found.get_trials()]
        assert [1.0, 0.0, 2.0] == entered


def test_a_database_that_is_not_there_is_one_clear_error() -> None:
    """The URL is named."""
    with quiet(), pytest.raises(ServiceError, match="--storage nothing://"):
        database("nothing://here")
