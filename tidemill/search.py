"""What a project declares about the search for its trainer's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from tidemill.checks import check_kind, check_name, check_one_of, check_unique, check_whole
from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError
from tidemill.trainer_kinds import LightGBM, LinearModel, NetModel, OwnModel, TrainerKind

Sampler = Literal["tpe", "cmaes", "random", "grid", "evolution"]
Fidelity = Literal["halving", "hyperband", "none"]
Value = float | int | str | bool
SAMPLERS: tuple[str, ...] = get_args(Sampler)
FIDELITIES: tuple[str, ...] = get_args(Fidelity)
_NAMES: Mapping[type, str] = {LightGBM: "lightgbm", LinearModel: "linear", NetModel: "net"}
# A net's hidden layers are searched as how many there are and how wide each is.
_VIRTUAL: Mapping[str, tuple[str, ...]] = {"net": ("width", "depth")}
_NOT_SEARCHED = ("hidden", "seed", "continued", "copies", "device")


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers from `low` to `high`, whole ones where both are; `log` spreads them by magnitude."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            found = getattr(self, name)
            number = isinstance(found, (int, float)) and not isinstance(found, bool)
            if not number or not math.isfinite(found):
                raise DeclarationError(f"Between.{name}", found, "a finite number")
        if self.low >= self.high:
            raise DeclarationError("Between.high", self.high, f"a number above {self.low:g}")
        check_kind("Between.log", (self.log,), bool, "True or False")
        if self.log and self.low <= 0:
            raise DeclarationError("Between.low", self.low, "a number above 0 with log")

    @property
    def whole(self) -> bool:
        """True when only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of some values; one alone fixes what is otherwise searched."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, tuple) or not self.values:
            raise DeclarationError("OneOf.values", self.values, "a tuple of one value or more")
        allowed = "numbers, strings, True and False"
        check_kind("OneOf.values", self.values, (int, float, str), allowed)
        check_unique("OneOf.values", [repr(value) for value in self.values])


@dataclass(frozen=True, slots=True)
class Search:
    """Which trainers and settings are tried before a release, and for how long.

    Of each family what is not searched stays as declared here. `space` adds to what is searched or
    replaces it, by `family.setting` (`lightgbm.leaves`, `net.width`, `net.depth`, `linear.ridge`,
    or the name of your own model and a keyword of its `make`). The search ends when one of `time`,
    `trials` and `cost` (core time: `time` on two cores is a cost of twice it) is used up.

    Each trial is scored on `folds` cuts in time, the model trained on what was known before a cut
    and scored on the rows after it. With a `fidelity` poor trials end early, on few rows or rounds.
    A trial whose model is larger or slower than the gate allows is never chosen. The first trials
    are what did best in up to `neighbours` earlier studies of similar data.
    """

    families: tuple[TrainerKind, ...] = (LightGBM(),)
    space: Mapping[str, Between | OneOf] = field(default_factory=dict, hash=False)
    sampler: Sampler = "tpe"
    fidelity: Fidelity = "halving"
    time: str = "15min"
    trials: int | None = None
    cost: str | None = None
    folds: int = 2
    neighbours: int = 3
    seed: int = 7

    def __post_init__(self) -> None:
        if not isinstance(self.families, tuple) or not self.families:
            raise DeclarationError("Search.families", self.families, "a tuple of trainers")
        check_kind("Search.families", self.families, TrainerKind, "a trainer, such as LightGBM")
        check_unique("Search.families", [family_of(each) for each in self.families])
        check_one_of("Search.sampler", self.sampler, SAMPLERS)
        check_one_of("Search.fidelity", self.fidelity, FIDELITIES)
        duration_ms("Search.time", self.time)
        if self.cost is not None:
            duration_ms("Search.cost", self.cost)
        if self.trials is not None:
            check_whole("Search.trials", self.trials, 1, 1_000_000)
        check_whole("Search.folds", self.folds, 1, 20)
        check_whole("Search.neighbours", self.neighbours, 0, 100)
        check_whole("Search.seed", self.seed, 0, 2_147_483_647)
        self._check_space()

    def _check_space(self) -> None:
        if not isinstance(self.space, Mapping):
            raise DeclarationError("Search.space", self.space, "names and what to try for each")
        families = {family_of(each): each for each in self.families}
        for name, choice in self.space.items():
            where = f"Search.space {name}"
            family, dot, setting = str(name).partition(".")
            if not dot:
                raise DeclarationError(where, name, "a family, a point and a setting")
            check_one_of(where, family, families)
            check_kind(where, (choice,), (Between, OneOf), "a Between or a OneOf")
            if isinstance(families[family], OwnModel):
                check_name(where, setting)
            else:
                check_one_of(where, setting, searchable(families[family]))

    @property
    def seconds(self) -> float:
        """The most time it takes, in seconds."""
        return duration_ms("Search.time", self.time) / 1000

    @property
    def core_seconds(self) -> float | None:
        """The most seconds times cores it takes, None: without a limit."""
        return None if self.cost is None else duration_ms("Search.cost", self.cost) / 1000


def family_of(settings: TrainerKind) -> str:
    """The family's name in a search: lightgbm, linear, net, or that of your own model."""
    if isinstance(settings, OwnModel):
        return settings.name
    return _NAMES[type(settings)]


def searchable(settings: TrainerKind) -> tuple[str, ...]:
    """What may be searched of a family that is known."""
    names = [each.name for each in fields(settings) if each.name not in _NOT_SEARCHED]
    return (*names, *_VIRTUAL.get(family_of(settings), ()))
