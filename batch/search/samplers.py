"""Optuna's samplers and pruners by the names that a project declares."""

from __future__ import annotations

from typing import Any

import numpy as np

from batch.search.folds import REDUCTION, Rung
from tidemill.search import Search

POPULATION = 12  # trials of a generation; Optuna's 50 would be a whole budget here
STARTUP = 8  # trials at random before a model of them is asked
FLAT = ("cmaes", "evolution")  # these need the same parameters in every trial


def new_sampler(search: Search, number: int, beside: int | None = None) -> Any:
    """The sampler for the trial that comes after so many.

    Each trial has one of its own, seeded by that number: a search that is resumed goes on as it
    would have. What samplers remember lies in the study. Where several workers try at once each has
    a number `beside` it, or all would try the same.
    """
    import optuna

    entropy = [search.seed, number, *([] if beside is None else [beside])]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    samplers = optuna.samplers
    if search.sampler == "tpe":
        several = beside is not None
        return samplers.TPESampler(
            n_startup_trials=STARTUP,
            multivariate=True,
            group=True,
            constant_liar=several,
            seed=seed,
        )
    if search.sampler == "cmaes":
        independent = samplers.RandomSampler(seed=seed)
        return samplers.CmaEsSampler(
            n_startup_trials=STARTUP, independent_sampler=independent, with_margin=True,
            warn_independent_sampling=False, seed=seed,
        )  # fmt: skip
    if search.sampler == "evolution":
        return samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    return samplers.RandomSampler(seed=seed)  # of a grid every value is given


def new_pruner(search: Search, rungs: list[Rung]) -> Any:
    """What ends a trial that does worse than others did on as many rows."""
    import optuna

    pruners = optuna.pruners
    if search.fidelity == "none" or len(rungs) < 2:
        return pruners.NopPruner()
    if search.fidelity == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    return pruners.HyperbandPruner(
        min_resource=1, max_resource=rungs[-1].resource, reduction_factor=REDUCTION
    )
