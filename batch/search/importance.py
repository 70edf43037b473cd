"""How much each searched setting decides, by family."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from batch.search.space import FAMILY
from batch.search.trials import Trial

LEAST_TRIALS = 6  # of a family, seen through: fewer say nothing


def importances(trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Shares that sum to 1, by family and setting; nothing for a family with few trials.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023): how far the settings of the better trials
    differ from those of all.
    """
    found = {}
    for family in dict.fromkeys(trial.family for trial in trials):
        seen = [t for t in trials if t.family == family and t.state == "complete"]
        seen = [trial for trial in seen if not trial.repeated]
        if len(seen) >= LEAST_TRIALS and (shares := _shares(family, seen)):
            found[family] = shares
    return found


def _shares(family: str, trials: Sequence[Trial]) -> dict[str, float]:
    import optuna

    study: Any = optuna.create_study()
    names = [name for name in trials[0].parameters if name.startswith(f"{family}.")]
    for trial in trials:
        parameters = {name: value for name, value in trial.parameters.items() if name in names}
        distributions = {name: trial.distributions[name] for name in parameters if name != FAMILY}
        study.add_trial(
            optuna.trial.create_trial(
                params=parameters, distributions=distributions, value=trial.loss
            )
        )
    evaluator: Any = optuna.importance.PedAnovaImportanceEvaluator()
    with suppress(RuntimeError, ValueError):  # where all trials have one value
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {name.removeprefix(f"{family}."): round(v, 6) for name, v in shares.items()}
    return {}
