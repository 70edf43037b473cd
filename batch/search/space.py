"""What is tried of each family, and how a trial's parameters become a trainer's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np

from tidemill.declaration import Project
from tidemill.search import Between, OneOf, Search, Value, family_of
from tidemill.trainer_kinds import LightGBM, LinearModel, NetModel, OwnModel, TrainerKind

Choice = Between | OneOf
Parameters = dict[str, Value]

FAMILY = "family"  # the parameter that says which one, where there are several
GRID_VALUES = 3  # of a range, in a grid
MOST_GRID = 10_000
TREES_RATE = 0.1
"""Trees are searched at this rate, with as many rounds as still help; it is lowered at the end.

What is good at one rate is good at a lower one (Friedman, Greedy Function Approximation, 2001,
section 5), and a trial takes a fraction of the time.
"""

# Around what FLAML searches (flaml/automl/model.py), less what brought nothing on the forward folds
# of the flights; a net's are the powers of two around its defaults.
_SEARCHED: Mapping[type, Mapping[str, Choice]] = {
    LightGBM: {
        "leaves": Between(7, 255, log=True),
        "min_rows_per_leaf": Between(10, 1000, log=True),
        "feature_share": Between(0.2, 1.0),
        "row_share": Between(0.7, 1.0),
        "l2": Between(0.1, 200.0, log=True),
        "bins": OneOf((63, 127, 255)),
    },
    LinearModel: {"ridge": Between(0.03, 1000.0, log=True)},
    NetModel: {
        "width": Between(16, 128, log=True),
        "depth": Between(1, 3),
        "embedding": Between(2, 32, log=True),
        "learning_rate": Between(0.005, 0.2, log=True),
        "batch_rows": OneOf((128, 256, 1024)),
        "admit_after": Between(1, 20, log=True),
    },
    OwnModel: {},
}
# A family's setting that says how long it is trained, and the most of it that a trial may take.
_STEPS: Mapping[type, tuple[str, int]] = {
    LightGBM: ("rounds", 1000),
    LinearModel: ("passes", 100),
    NetModel: ("epochs", 12),
}


class Space:
    """Everything that is searched, by the names of parameters: `family` and `family.setting`."""

    def __init__(self, search: Search) -> None:
        self.families = {family_of(each): each for each in search.families}
        self._declared = search.space
        self.choices: dict[str, dict[str, Choice]] = {}
        for family, settings in self.families.items():
            chosen = dict(_SEARCHED[type(settings)])
            for name, choice in search.space.items():
                owner, _, setting = name.partition(".")
                if owner == family:
                    chosen[setting] = choice
            self.choices[family] = chosen

    def suggest(self, trial: Any, flat: bool = False) -> TrainerKind:
        """What a trial of Optuna is to train; `flat` asks for all families' parameters.

        Samplers that move a population need every trial to have the same parameters.
        """
        names = list(self.families)
        family = trial.suggest_categorical(FAMILY, names) if len(names) > 1 else names[0]
        found = {each: self._suggest(trial, each) for each in (names if flat else [family])}
        return self._settings(family, found[family])

    def settings(
        self, parameters: Mapping[str, Value], fixed: Mapping[str, Value] | None = None
    ) -> TrainerKind:
        """The settings that a trial's parameters mean, with those it was given besides."""
        family = str(parameters.get(FAMILY, next(iter(self.families))))
        prefix = f"{family}."
        found = {k.removeprefix(prefix): v for k, v in parameters.items() if k.startswith(prefix)}
        return with_fixed(self._settings(family, found), fixed or {})

    def parameters(self, family: str, settings: Mapping[str, Any]) -> Parameters:
        """The parameters that come nearest to some settings of a family, by their names."""
        found: Parameters = {FAMILY: family} if len(self.families) > 1 else {}
        for setting, choice in self.choices[family].items():
            value = _plain(settings, setting)
            if value is None:
                continue
            if isinstance(choice, Between):
                near = min(max(float(value), choice.low), choice.high)
                found[f"{family}.{setting}"] = round(near) if choice.whole else near
            elif value in choice.values:
                found[f"{family}.{setting}"] = value
        return found

    def full_length(self, settings: TrainerKind) -> TrainerKind:
        """The settings with as many steps as a trial may take; watching ends it earlier.

        Trees that are searched at another rate than `TREES_RATE` get rounds in proportion.
        """
        if type(settings) not in _STEPS:
            return settings
        name, most = _STEPS[type(settings)]
        if f"{family_of(settings)}.{name}" in self._declared:
            return settings
        if isinstance(settings, LightGBM) and settings.copies > 1:
            return settings  # as many rounds as one alone was found to need
        if isinstance(settings, LightGBM):
            slower = max(TREES_RATE / settings.learning_rate, 0.2)
            return replace(settings, rounds=min(round(most * slower), 10_000))
        return with_steps(settings, most)

    def grid(self, seed: int) -> Iterator[Parameters]:
        """Every combination of all values (of a range: `GRID_VALUES`), in an order by the seed."""
        points = []
        for family, choices in self.choices.items():
            names = [f"{family}.{setting}" for setting in choices]
            head: Parameters = {FAMILY: family} if len(self.families) > 1 else {}
            for values in product(*(_values(choice) for choice in choices.values())):
                points.append(head | dict(zip(names, values, strict=True)))
                if len(points) >= MOST_GRID:
                    break
        order = np.random.default_rng(seed).permutation(len(points))
        return (points[place] for place in order)

    def _suggest(self, trial: Any, family: str) -> Parameters:
        found: Parameters = {}
        for setting, choice in self.choices[family].items():
            name = f"{family}.{setting}"
            if isinstance(choice, OneOf):
                found[setting] = trial.suggest_categorical(name, list(choice.values))
            elif choice.whole:
                low, high = int(choice.low), int(choice.high)
                found[setting] = trial.suggest_int(name, low, high, log=choice.log)
            else:
                found[setting] = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
        return found

    def _settings(self, family: str, found: Mapping[str, Value]) -> TrainerKind:
        declared, values = self.families[family], dict(found)
        if isinstance(declared, OwnModel):
            kept = [pair for pair in declared.settings if pair[0] not in values]
            return replace(declared, settings=(*kept, *values.items()))
        if isinstance(declared, LightGBM) and "learning_rate" not in values:
            values["learning_rate"] = TREES_RATE
        if isinstance(declared, NetModel):
            hidden = declared.hidden
            width = int(values.pop("width", hidden[0]))
            depth = int(values.pop("depth", len(hidden)))
            # Each layer is half as wide as the one before it, as in the default net.
            values["hidden"] = tuple(max(1, width >> layer) for layer in range(depth))  # type: ignore[assignment]
        return with_fixed(declared, values)


def declared_search(project: Project) -> Search:
    """What a project declares; without a search one for its own trainer's settings."""
    return project.search or Search(families=(project.trainer,))


def with_fixed(settings: TrainerKind, fixed: Mapping[str, Value]) -> TrainerKind:
    """The same settings but for some."""
    return replace(settings, **fixed) if fixed else settings


def with_steps(settings: TrainerKind, steps: int) -> TrainerKind:
    """The same settings, trained for so many steps."""
    if type(settings) not in _STEPS:
        return settings
    return replace(settings, **{_STEPS[type(settings)][0]: max(1, steps)})


def grown(settings: TrainerKind, growth: float) -> TrainerKind:
    """The settings for so many times as many rows: trees' rounds grow with them.

    On the flights the best number of rounds did, about in proportion, from month to month; too few
    cost more than too many.
    """
    if not isinstance(settings, LightGBM):
        return settings
    return replace(settings, rounds=min(10_000, round(settings.rounds * growth)))


def plain(settings: TrainerKind) -> dict[str, Any]:
    """Settings as JSON has them; of your own model only what its `make` is given."""
    if isinstance(settings, OwnModel):
        return dict(settings.settings)
    return asdict(settings)


def _plain(settings: Mapping[str, Any], setting: str) -> Any:
    hidden = settings.get("hidden")
    if hidden and setting in ("width", "depth"):
        return hidden[0] if setting == "width" else len(hidden)
    return settings.get(setting)


def _values(choice: Choice) -> tuple[Value, ...]:
    if isinstance(choice, OneOf):
        return choice.values
    spaced = np.geomspace if choice.log else np.linspace
    values = spaced(choice.low, choice.high, GRID_VALUES).tolist()
    return tuple(dict.fromkeys(round(v) for v in values)) if choice.whole else tuple(values)
