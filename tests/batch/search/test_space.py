"""Parameters become settings and settings parameters."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from batch.search.space import FAMILY, TREES_RATE, Space, grown, plain, with_steps
from tidemill import Between, LightGBM, LinearModel, NetModel, OneOf, OwnModel, Search
from tidemill.errors import DeclarationError

FAMILIES = (LightGBM(leaves=7), LinearModel(), NetModel(), OwnModel("mine", dict))
SPACE = {"mine.depth": Between(1, 9), "mine.kind": OneOf(("a", "b"))}
every = Space(Search(families=FAMILIES, space=SPACE))


@pytest.mark.parametrize("family", ["lightgbm", "linear", "net", "mine"])
def test_a_trials_settings_give_its_parameters_again(family: str) -> None:
    """Whatever the family, so that an earlier study's best can be tried as it was."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(5):
        study.enqueue_trial({FAMILY: family})
        trial = study.ask()
        settings = every.suggest(trial)
        assert every.settings(trial.params) == settings
        assert pytest.approx(trial.params) == every.parameters(family, plain(settings))


def test_a_flat_trial_has_every_familys_parameters() -> None:
    """Samplers that move a population need that; the chosen family's count."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    settings = every.suggest(trial, flat=True)
    assert {"lightgbm.leaves", "linear.ridge", "net.width", "mine.kind"} < set(trial.params)
    assert every.settings(trial.params) == settings


def test_a_nets_layers_are_half_as_wide_each() -> None:
    """Width is the first layer's, depth how many there are."""
    found = every.settings({FAMILY: "net", "net.width": 48, "net.depth": 3})
    assert (48, 24, 12) == found.hidden  # type: ignore[attr-defined]
    assert {"net.width": 48, "net.depth": 3} == {
        name: value
        for name, value in every.parameters("net", plain(found)).items()
        if name in ("net.width", "net.depth")
    }


def test_settings_out_of_range_come_as_near_as_they_can() -> None:
    """A declared start, or another project's best, may lie outside what is searched."""
    space = Space(Search(space={"lightgbm.leaves": Between(8, 64, log=True)}))
    assert 64 == space.parameters("lightgbm", {"leaves": 4000})["lightgbm.leaves"]
    assert "lightgbm.bins" not in space.parameters("lightgbm", {"bins": 200})


def test_trees_are_tried_at_one_rate_with_rounds_in_proportion() -> None:
    """Unless the rate, or the rounds, are searched."""
    found = every.full_length(every.settings({FAMILY: "lightgbm"}))
    assert (TREES_RATE, 1000) == (found.learning_rate, found.rounds)  # type: ignore[attr-defined]
    slower = every.full_length(every.settings({FAMILY: "lightgbm"}, {"learning_rate": 0.05}))
    assert 2000 == slower.rounds  # type: ignore[attr-defined]
    space = Space(Search(space={"lightgbm.rounds": OneOf((30,))}))
    assert 30 == space.full_length(space.settings({"lightgbm.rounds": 30})).rounds  # type: ignore[attr-defined]


def test_rounds_grow_with_the_rows() -> None:
    """Only trees' do: passes and epochs go over all rows anyway."""
    assert 125 == grown(LightGBM(rounds=100), 1.25).rounds  # type: ignore[attr-defined]
    assert LinearModel() == grown(LinearModel(), 1.25)
    assert 3 == with_steps(NetModel(), 3).epochs  # type: ignore[attr-defined]


def test_a_grid_has_every_combination_once() -> None:
    """Of a range its ends and its middle; the seed says in which order."""
    space = Space(Search(families=(LinearModel(), OwnModel("mine", dict)), space=SPACE))
    points = [*space.grid(1)]
    assert 3 + 3 * 2 == len(points) == len({str(point) for point in points})
    assert points != [*space.grid(2)]
    assert {0.03, 1000.0} < {p["linear.ridge"] for p in points if p[FAMILY] == "linear"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": "annealing"}, "one of tpe, cmaes, random, grid, evolution"),
        ({"families": ()}, "a tuple of trainers"),
        ({"families": (LightGBM(), LightGBM())}, "each name once"),
        ({"space": {"lightgbm.leafs": Between(1, 2)}}, "one of leaves, rounds"),
        ({"space": {"linear.ridge": Between(1, 2)}}, "one of lightgbm"),
        ({"space": {"leaves": Between(1, 2)}}, "a family, a point and a setting"),
        ({"space": {"lightgbm.leaves": 5}}, "a Between or a OneOf"),
        ({"time": "soon"}, "a positive duration"),
        ({"cost": "much"}, "a positive duration"),
        ({"trials": 0}, "a number from 1"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    """The error names what is allowed."""
    with pytest.raises(DeclarationError, match=said):
        Search(**settings)


@pytest.mark.parametrize(("low", "high", "log"), [(2, 1, False), (0, 1, True), (1, "2", False)])
def test_a_range_that_makes_no_sense_is_refused(low: Any, high: Any, log: bool) -> None:
    """Upside down, by magnitude from nothing, or of words."""
    with pytest.raises(DeclarationError, match=r"Between\."):
        Between(low, high, log)
