"""The trainers a user can declare: what batch makes releases with, each with its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tidemill.checks import check_kind, check_name, check_one_of, check_range, check_whole
from tidemill.errors import DeclarationError

MOST_LAYERS = 4  # between a net's inputs and its output


@dataclass(frozen=True, slots=True)
class TrainerKind:
    """Base of the trainers' settings."""


@dataclass(frozen=True, slots=True)
class LightGBM(TrainerKind):
    """Gradient-boosted trees.

    With `continued` the trees of the champion are gone on from, where they have not seen the rows
    they are judged on. Of several `copies`, which differ by their seeds, the release says the mean.
    """

    leaves: int = 63
    rounds: int = 200
    learning_rate: float = 0.05
    min_rows_per_leaf: int = 20
    feature_share: float = 1.0
    seed: int = 7
    row_share: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    bins: int = 255
    continued: bool = False
    copies: int = 1

    def __post_init__(self) -> None:
        check_whole("LightGBM.copies", self.copies, 1, 64)
        check_whole("LightGBM.leaves", self.leaves, 2, 4096)
        check_whole("LightGBM.rounds", self.rounds, 1, 10_000)
        check_range("LightGBM.learning_rate", self.learning_rate, 1e-6, 1)
        check_whole("LightGBM.min_rows_per_leaf", self.min_rows_per_leaf, 1, 1_000_000_000)
        check_whole("LightGBM.seed", self.seed, 0, 2_147_483_647)
        check_range("LightGBM.feature_share", self.feature_share, 0.01, 1)
        check_range("LightGBM.row_share", self.row_share, 0.01, 1)
        check_range("LightGBM.l1", self.l1, 0, 1e6)
        check_range("LightGBM.l2", self.l2, 0, 1e6)
        check_whole("LightGBM.bins", self.bins, 2, 65_535)
        check_kind("LightGBM.continued", (self.continued,), bool, "True or False")


@dataclass(frozen=True, slots=True)
class LinearModel(TrainerKind):
    """A linear model of standardised numbers and one slot per category (hashed, or its own).

    `ridge` is the penalty on half the squared weights, `passes` the most steps over the data.
    """

    ridge: float = 1.0
    passes: int = 100
    hash_bits: int | None = 18

    def __post_init__(self) -> None:
        check_range("LinearModel.ridge", self.ridge, 0, 1e9)
        check_whole("LinearModel.passes", self.passes, 1, 100_000)
        if self.hash_bits is not None:
            check_whole("LinearModel.hash_bits", self.hash_bits, 1, 26)


@dataclass(frozen=True, slots=True)
class NetModel(TrainerKind):
    """A small net of all features, categorical ones as embedded ids (needs the extra `torch`).

    Ids seen fewer than `admit_after` times share one embedding, and there are at most `max_rows`.

    `batch_rows` rows are learned in a step: 4096 train twice as fast as 256 and end a little worse
    (`bench net_training`, 64 features, two cores without a GPU; so for all that follows). `lars`
    ("LARS", You et al., 2017) is for wide nets and large batches, where AdaGrad's first steps are
    too long: (256, 128) at 4096 rows ends at a log-loss of .51, not .63; its `learning_rate` is a
    share of each layer's norm. `bfloat16` multiplies in 16 bits: over twice as fast for that net on
    a processor that has them, slower for small ones. `compiled` (`torch.compile`) brings nothing
    here and takes half a minute first. `checkpointed` keeps half as much of a batch for the way
    back and is a quarter slower. `processes` of this machine train one net together
    (torch's DistributedDataParallel). `device` `auto` is a GPU if there is one.
    """

    embedding: int = 8
    hidden: tuple[int, ...] = (32, 16)
    learning_rate: float = 0.05
    epochs: int = 3
    batch_rows: int = 256
    admit_after: int = 2
    max_rows: int = 1_000_000
    seed: int = 7
    optimizer: Literal["adagrad", "lars"] = "adagrad"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bfloat16: bool = False
    compiled: bool = False
    checkpointed: bool = False
    processes: int = 1

    def __post_init__(self) -> None:
        check_whole("NetModel.embedding", self.embedding, 1, 256)
        if not isinstance(self.hidden, tuple) or not 1 <= len(self.hidden) <= MOST_LAYERS:
            allowed = f"a tuple of 1 to {MOST_LAYERS} whole numbers"
            raise DeclarationError("NetModel.hidden", self.hidden, allowed)
        for units in self.hidden:
            check_whole("NetModel.hidden", units, 1, 4096)
        check_range("NetModel.learning_rate", self.learning_rate, 1e-9, 100)
        check_whole("NetModel.epochs", self.epochs, 1, 10_000)
        check_whole("NetModel.batch_rows", self.batch_rows, 1, 10_000_000)
        check_whole("NetModel.admit_after", self.admit_after, 1, 1_000_000)
        check_whole("NetModel.max_rows", self.max_rows, 1, 100_000_000)
        check_whole("NetModel.seed", self.seed, 0, 2_147_483_647)
        check_one_of("NetModel.optimizer", self.optimizer, ("adagrad", "lars"))
        check_one_of("NetModel.device", self.device, ("auto", "cpu", "cuda"))
        check_whole("NetModel.processes", self.processes, 1, 1024)
        for name in ("bfloat16", "compiled", "checkpointed"):
            check_kind(f"NetModel.{name}", (getattr(self, name),), bool, "True or False")


@dataclass(frozen=True, slots=True)
class OwnModel(TrainerKind):
    """A trainer of your own: `make` takes `settings` as keywords and returns a `ModelMaker`."""

    name: str
    make: Callable[..., object]
    settings: tuple[tuple[str, float | int | str], ...] = ()

    def __post_init__(self) -> None:
        check_name("OwnModel.name", self.name)
        if not callable(self.make):
            raise DeclarationError(
                f"OwnModel {self.name}.make", self.make, "a class or function of the settings"
            )
