"""What a study knows of its trials: read from Optuna's records, best first where it matters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.search import Value

FIXED = "fixed"  # user attribute: settings that a trial was given besides its parameters
START = "start"  # user attribute: which of the first trials it is
ORIGIN = "origin"  # user attribute: where its parameters come from
SAMPLED = "sampled"

ERRORS = 2.0
LEAST_BLOCKS = 10  # under these nothing can be said of the noise

_INNER = ("loss", "distributions", "blocks")
REPEATED = "as trial"  # how the reason of one begins whose settings were tried before


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: its parameters and how it ended.

    `state` is complete, pruned or failed; `loss` that of all rows and folds, or of those it saw;
    `steps` what a fold took. Size, latency and `training_seconds` are those of a model of all rows,
    as far as that can be told; `excess` says by which share the gate's limits are broken.
    """

    number: int
    state: str
    origin: str
    family: str
    parameters: dict[str, Value]
    fixed: dict[str, Value]
    settings: dict[str, Any]
    loss: float
    losses: list[float]
    steps: int
    seconds: float
    model_bytes: int
    row_us: float
    training_seconds: float
    excess: dict[str, float]
    reason: str
    blocks: list[float]
    known: bool
    ended_ms: int
    distributions: dict[str, Any]

    @property
    def feasible(self) -> bool:
        """True when the gate's limits allow it."""
        return not any(value > 0 for value in self.excess.values())

    @property
    def repeated(self) -> bool:
        """True when it only repeats what an earlier one found."""
        return self.reason.startswith(REPEATED)

    @property
    def copies(self) -> int:
        """Of how many models it is the mean."""
        return int(self.fixed.get("copies", 1))

    @property
    def key(self) -> str:
        """Equal for trials of equal settings."""
        return key_of(self.parameters, self.fixed)

    def as_json(self) -> dict[str, Any]:
        """For reports."""
        kept = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("loss", "distributions")
        }
        return kept | {"loss": self.loss if math.isfinite(self.loss) else None}


def key_of(parameters: dict[str, Value], fixed: dict[str, Value]) -> str:
    """Equal for equal settings."""
    return repr((sorted(parameters.items()), sorted(fixed.items())))


def finished(study: Any) -> list[Trial]:
    """The study's finished trials by their numbers; one that was interrupted is none."""
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    found = []
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        reason = attributes.get("reason", "")
        if trial.state.name not in states or (trial.state.name == "FAIL" and not reason):
            continue  # a killed process's trial gives no reason
        loss = trial.value if trial.state.name == "COMPLETE" else attributes.get("loss")
        ended = trial.datetime_complete
        found.append(
            Trial(
                number=trial.number,
                state=states[trial.state.name],
                origin=attributes.get(ORIGIN, SAMPLED),
                family=attributes.get("family", ""),
                parameters=trial.params,
                fixed=attributes.get(FIXED, {}),
                settings=attributes.get("settings", {}),
                loss=math.inf if loss is None else loss,
                losses=attributes.get("losses", []),
                steps=attributes.get("steps", 0),
                seconds=attributes.get("seconds", 0.0),
                model_bytes=attributes.get("model_bytes", 0),
                row_us=attributes.get("row_us", 0.0),
                training_seconds=attributes.get("training_seconds", 0.0),
                excess=attributes.get("excess", {}),
                reason=reason,
                blocks=attributes.get("blocks", []),
                known=START in attributes and attributes.get(ORIGIN, SAMPLED) != SAMPLED,
                distributions=trial.distributions,
                ended_ms=round(ended.timestamp() * 1000) if ended else 0,
            )
        )
    return found


def enter_again(study: Any, trial: Any) -> None:
    """Have a trial run again that was interrupted."""
    kept = {k: v for k, v in trial.user_attrs.items() if k in (FIXED, ORIGIN, START)}
    parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    study.enqueue_trial(parameters, user_attrs=kept)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Those that may be chosen, best first.

    Of trials that were seen through on all folds; where there is none yet, of those that were not.
    """
    usable = [t for t in trials if t.feasible and math.isfinite(t.loss) and t.state != "failed"]
    complete = [trial for trial in usable if trial.state == "complete"]
    return sorted(complete or usable, key=lambda trial: (trial.loss, trial.number))


def preferred(trials: Sequence[Trial]) -> list[Trial]:
    """As `ranked`, but what is known to be good goes first where nothing is shown to be better.

    The lowest of many losses is low by luck as well (Cawley and Talbot, JMLR 2010). So where trees
    are best those in copies go before those alone, whose seeds had luck too; and settings that the
    study began with, at other rates and in copies too, before what folds of a few weeks prefer by
    less than their noise, which the next month need not.
    """
    found = ranked(trials)
    if not found:
        return []
    family = found[0].family
    found.sort(key=lambda trial: trial.copies == 1 or trial.family != family)
    structures = [trial.parameters for trial in trials if trial.known]
    one = found[0].copies == 1
    known = next((t for t in found if (t.copies == 1) == one and t.parameters in structures), None)
    if known is None or known is found[0] or shown_better(found[0], known):
        return found
    return [known, *(trial for trial in found if trial is not known)]


def shown_better(one: Trial, other: Trial) -> bool:
    """True when one's loss is lower by more than `ERRORS` standard errors of the difference.

    Losses are paired by stretches of time: rows near each other err alike.
    """
    if len(one.blocks) != len(other.blocks) or len(one.blocks) < LEAST_BLOCKS:
        return True
    gains = [b - a for a, b in zip(one.blocks, other.blocks, strict=True)]
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    return statistics.mean(gains) > ERRORS * error
