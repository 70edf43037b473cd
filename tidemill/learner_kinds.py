"""The learners a user can declare, each with its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tidemill.checks import (
    check_kind,
    check_name,
    check_one_of,
    check_range,
    check_unique,
    check_whole,
)
from tidemill.errors import DeclarationError

MOST_EXPERTS = 16  # in a mixture
MOST_LAYERS = 4  # between a net's inputs and its output


class LearnerKind:
    """Base of the learners' settings; `name` is unique within a project."""

    __slots__ = ()
    name: str


@dataclass(frozen=True, slots=True)
class TreeHead(LearnerKind):
    """An online linear head on the frozen trees of the release (AdaGrad).

    `learning_rate` is that of up to 200 trees; of more each moves less, in proportion. One example
    moves the log-odds by at most `max_step` (a regression's value by as many standard deviations of
    what the release predicts).
    """

    name: str = "head"
    learning_rate: float = 0.002
    max_step: float = 1.0

    def __post_init__(self) -> None:
        check_name("TreeHead.name", self.name)
        check_range(f"TreeHead {self.name}.learning_rate", self.learning_rate, 0, 1)
        check_range(f"TreeHead {self.name}.max_step", self.max_step, 1e-6, 100)


@dataclass(frozen=True, slots=True)
class River(LearnerKind):
    """Any classifier or regression of the River library, made by `make`, beside the release.

    `make` takes nothing and returns a new estimator with a fixed seed. A vector reaches it as a
    dict of floats; what is missing is left out, or is `missing` where that is a number. Values of
    categorical features are strings where `strings` is set (as one-hot encoders and trees like).
    The release answers until the estimator has shown that it is better: the two are a mixture.
    """

    name: str
    make: Callable[[], object]
    missing: float | None = None
    strings: bool = False

    def __post_init__(self) -> None:
        check_name("River.name", self.name)
        if not callable(self.make):
            raise DeclarationError(
                f"River {self.name}.make", self.make, "a function that returns an estimator"
            )
        if self.missing is not None:
            check_range(f"River {self.name}.missing", self.missing, -1e30, 1e30)
        check_kind(f"River {self.name}.strings", (self.strings,), bool, "True or False")


@dataclass(frozen=True, slots=True)
class Mixture(LearnerKind):
    """Several learners and the frozen release, blended with weights that adapt.

    `share` is the weight that is shared out among all after each example, so that another may come
    to the front; by default it falls as 1 / (`calm` + examples). `memories` are the examples
    that each stacker looks back on. `recent` are half-lives, in examples, of averages of the
    latest labels that the stackers also see: only for labels that come at once, because what is
    learned with a fresh average is wrong for a stale one. `prior` is how many examples' evidence
    holds the stackers at their start.
    """

    name: str
    experts: tuple[LearnerKind, ...]
    share: float | None = None
    calm: int = 1000
    memories: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    recent: tuple[float, ...] = ()
    prior: float = 10.0

    def __post_init__(self) -> None:
        check_name("Mixture.name", self.name)
        where = f"Mixture {self.name}"
        if not isinstance(self.experts, tuple) or not 1 <= len(self.experts) <= MOST_EXPERTS:
            raise DeclarationError(
                f"{where}.experts", self.experts, f"a tuple of 1 to {MOST_EXPERTS} learners"
            )
        check_kind(f"{where}.experts", self.experts, LearnerKind, "learners such as tm.TreeHead()")
        for expert in self.experts:
            if isinstance(expert, Mixture):
                raise DeclarationError(f"{where}.experts", expert.name, "learners, not mixtures")
        check_unique(f"{where}.experts", [expert.name for expert in self.experts])
        if self.share is not None:
            check_range(f"{where}.share", self.share, 1e-9, 0.5)
        check_whole(f"{where}.calm", self.calm, 1, 1_000_000_000)
        check_range(f"{where}.prior", self.prior, 1e-3, 1e9)
        for name, most in (("memories", 1e12), ("recent", 1e9)):
            found = getattr(self, name)
            if not isinstance(found, tuple) or len(found) > MOST_EXPERTS:
                raise DeclarationError(
                    f"{where}.{name}", found, f"a tuple of at most {MOST_EXPERTS} numbers"
                )
            for number in found:
                check_range(f"{where}.{name}", number, 0.1 if name == "recent" else 10, most)


@dataclass(frozen=True, slots=True)
class Linear(LearnerKind):
    """A linear model of all features that learns online: FTRL-proximal or AdaGrad.

    Numeric features are standardised, categorical ones are one slot per category: one of
    2^`hash_bits`, or with None one of its own for each, however many come. `learning_rate` and
    `beta` are the papers' alpha and beta, `l1` and `l2` their penalties. One example moves the
    log-odds by at most `max_step` (a regression's value by as many standard deviations of what the
    release predicts); None is no bound.
    """

    name: str = "linear"
    optimizer: Literal["ftrl", "adagrad"] = "ftrl"
    learning_rate: float = 0.02
    l1: float = 0.0
    l2: float = 0.0
    beta: float = 1.0
    hash_bits: int | None = 18
    max_step: float | None = 1.0

    def __post_init__(self) -> None:
        check_name("Linear.name", self.name)
        where = f"Linear {self.name}"
        check_one_of(f"{where}.optimizer", self.optimizer, ("ftrl", "adagrad"))
        check_range(f"{where}.learning_rate", self.learning_rate, 1e-9, 100)
        check_range(f"{where}.l1", self.l1, 0, 1e6)
        check_range(f"{where}.l2", self.l2, 0, 1e6)
        check_range(f"{where}.beta", self.beta, 0, 1e6)
        if self.hash_bits is not None:
            check_whole(f"{where}.hash_bits", self.hash_bits, 1, 26)
        if self.max_step is not None:
            check_range(f"{where}.max_step", self.max_step, 1e-6, 100)


@dataclass(frozen=True, slots=True)
class EmbeddingNet(LearnerKind):
    """A small net of all features that learns online; categorical ones as embedded ids.

    Layers of `hidden` units follow the inputs, an id is `embedding` numbers. Examples are learned
    in blocks of `block`. An id gets its embedding once it was learned from `admit_after` times, and
    loses it when `expires_after` examples passed without it (None: never); there are at most
    `max_rows` of them. `seed` decides what the hidden layers and new ids start with.
    """

    name: str = "net"
    embedding: int = 8
    hidden: tuple[int, ...] = (32, 16)
    learning_rate: float = 0.05
    block: int = 64
    admit_after: int = 2
    expires_after: int | None = 1_000_000
    max_rows: int = 1_000_000
    seed: int = 7

    def __post_init__(self) -> None:
        check_name("EmbeddingNet.name", self.name)
        where = f"EmbeddingNet {self.name}"
        check_whole(f"{where}.embedding", self.embedding, 1, 256)
        if not isinstance(self.hidden, tuple) or not 1 <= len(self.hidden) <= MOST_LAYERS:
            allowed = f"a tuple of 1 to {MOST_LAYERS} whole numbers"
            raise DeclarationError(f"{where}.hidden", self.hidden, allowed)
        for units in self.hidden:
            check_whole(f"{where}.hidden", units, 1, 4096)
        check_range(f"{where}.learning_rate", self.learning_rate, 0, 1)
        check_whole(f"{where}.block", self.block, 1, 65_536)
        check_whole(f"{where}.admit_after", self.admit_after, 1, 1_000_000)
        if self.expires_after is not None:
            check_whole(f"{where}.expires_after", self.expires_after, 1, 1_000_000_000_000)
        check_whole(f"{where}.max_rows", self.max_rows, 1, 100_000_000)
        check_whole(f"{where}.seed", self.seed, 0, 2_147_483_647)
