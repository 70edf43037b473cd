"""Trees once more: as means of copies, and in the last part of a search at lower rates."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from batch.search.space import TREES_RATE, Parameters
from batch.search.trials import Trial, key_of, preferred
from tidemill.search import Value

LOWEST_RATE = 0.01
REFINED_TRIALS = 3  # how many of the best are tried so
EARLY = 0.1  # of the time that is left: what copies may take that are made before the last part
MOST_COPIES = 4
"""Copies that are averaged: on the flights four gained .001 to .0017 of log-loss, in each month."""

_RATE, _ROUNDS, _COPIES = "learning_rate", "rounds", "copies"
Refinement = tuple[Parameters, str, dict[str, Value]]


def refinement(
    trials: Sequence[Trial],
    tried: Collection[str],
    seconds_left: float,
    with_training: bool = False,
) -> Refinement | None:
    """The next trial of this kind (parameters, origin, settings beside them), None for none.

    The best few are tried in copies, then the best of all at half the rate, which takes twice the
    rounds and so twice the time, and at half of that if it was better; the next best likewise. What
    would not fit into the time, `with_training` of the release, is left out.
    """

    def fit(trial: Trial) -> int:
        seconds = trial.seconds + (trial.training_seconds if with_training else 0.0)
        return int(seconds_left // max(seconds, 1e-3))

    best = _best_of_each(trials)[:REFINED_TRIALS]
    for trial in best:
        if found := _copied(trial, tried, min(fit(trial), MOST_COPIES)):
            return found
    for trial in _trees(trials)[:REFINED_TRIALS]:
        if fit(trial) >= 2 and (found := _slower(trial, tried)):
            return found
    return None


def early_copies(
    trials: Sequence[Trial],
    tried: Collection[str],
    seconds_left: float,
    with_training: bool = False,
) -> Refinement | None:
    """Of the settings that a study begins with, two in copies; None for none.

    Averaging gains more than most settings do, so that what there is early is good early. Tried are
    the best, and those that leave most to chance: trees that are unlike each other are worse alone
    and better together (Breiman, Random Forests, 2001, section 2). Each takes a tenth of the time
    that is left at most.
    """
    known = [trial for trial in _best_of_each(trials) if trial.known]
    for trial in (*known[:1], *sorted(known, key=_kept)[:1]):
        seconds = trial.seconds + (trial.training_seconds if with_training else 0.0)
        if MOST_COPIES * seconds <= EARLY * seconds_left:
            found = _copied(trial, tried, MOST_COPIES)
            if found is not None:
                return found
    return None


def _trees(trials: Sequence[Trial]) -> list[Trial]:
    """Those that may be refined, best first; none where another family did best."""
    best = preferred(trials)
    if not best or best[0].family != "lightgbm":
        return []
    return [trial for trial in best if trial.family == "lightgbm" and not trial.repeated]


def _best_of_each(trials: Sequence[Trial]) -> list[Trial]:
    """Of all parameters the best trial that is no mean of copies, best first."""
    found: dict[str, Trial] = {}
    for trial in _trees(trials):
        if trial.copies == 1:
            found.setdefault(key_of(trial.parameters, {}), trial)
    return [*found.values()]


def _kept(trial: Trial) -> float:
    """The share of all that a tree is shown."""
    return float(trial.settings["feature_share"] * trial.settings["row_share"])


def _slower(trial: Trial, tried: Collection[str]) -> Refinement | None:
    """At half the rate, unless the rate is searched or so low was tried.

    One alone is watched, so that its rounds are found; copies have twice as many.
    """
    rate = float(trial.fixed.get(_RATE, TREES_RATE)) / 2
    fixed: dict[str, Value] = {**trial.fixed, _RATE: rate}
    if trial.copies > 1:
        fixed[_ROUNDS] = 2 * int(trial.fixed[_ROUNDS])
    searched = f"{trial.family}.{_RATE}" in trial.parameters
    if searched or rate < LOWEST_RATE or key_of(trial.parameters, fixed) in tried:
        return None
    return dict(trial.parameters), f"trial {trial.number} at half the rate", fixed


def _copied(trial: Trial, tried: Collection[str], copies: int) -> Refinement | None:
    """In copies; they differ only where something is drawn at random."""
    settings = trial.settings
    drawn = settings["feature_share"] < 1 or settings["row_share"] < 1
    declared = settings[_COPIES] > 1 or f"{trial.family}.rounds" in trial.parameters
    if not drawn or declared or copies < 2:
        return None
    for several in range(2, MOST_COPIES + 1):
        fixed: dict[str, Value] = {
            **trial.fixed, _RATE: settings[_RATE], _ROUNDS: trial.steps, _COPIES: several
        }  # fmt: skip
        if key_of(trial.parameters, fixed) in tried:
            return None
    fixed[_COPIES] = copies
    return dict(trial.parameters), f"{copies} copies of trial {trial.number}", fixed
