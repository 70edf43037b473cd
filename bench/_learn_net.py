"""The embedding net against torch: examples learned a second, and the time of a prediction.

8 numbers and 12 ids of 100 000 values each, learned in batches of 512: ids drawn evenly, so that
hardly one repeats within a batch. Torch gets the numbers standardised and the ids as rows of one
`Embedding(sparse=True)`; ours hashes, admits and standardises what a vector has. Both learn by
AdaGrad from the same weights and sums, and their losses are compared batch by batch before anything
is timed. Torch is also timed with SparseAdam and Adam, on one thread and on two; the ratio is to
the fastest of its ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learners.net.embedding_net import EmbeddingNet, first_network
from learners.net.frozen_net import FrozenNet, net_bytes, shape_of
from learners.net.layers import fill_inputs
from learners.net.network import Network
from learners.net.table import FIRST_SUM, Candidates, Rows
from learners.quality import log_loss
from tidemill.learner_kinds import EmbeddingNet as Settings
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY

if TYPE_CHECKING:
    import torch

NUMBERS, IDS, VALUES, BATCH = 8, 12, 100_000, 512
SIZES = {"net": (8, (32, 16)), "net_wide": (16, (64, 32))}
RATE = 0.02
_COMPARED = 20  # batches
_NAMES = tuple(f"number_{i}" for i in range(NUMBERS)) + tuple(f"id_{i}" for i in range(IDS))
SCHEMA = FeatureSchema(_NAMES, _NAMES[NUMBERS:], "")

Vectors = NDArray[np.float32]
Step = Callable[[Vectors, NDArray[np.float64]], float]
"""Learns a batch; its mean loss before."""


@dataclass(frozen=True)
class Work:
    """What both do: a release to start from and batches of vectors and labels."""

    release: FrozenNet
    settings: Settings
    batches: list[tuple[Vectors, NDArray[np.float64]]]


def make_work(embedding: int, hidden: tuple[int, ...], values: int, batches: int) -> Work:
    """A release that knows every id, and examples whose label depends on numbers and ids."""
    settings = Settings(
        embedding=embedding, hidden=hidden, block=BATCH, learning_rate=RATE, expires_after=None,
        max_rows=2 * IDS * values,
    )  # fmt: skip
    network = first_network(shape_of(BINARY, SCHEMA, embedding, hidden), settings)
    # Standardised already, by so many values that the batches change nothing.
    network.moments[:] = np.array([1e15, 0, 1e15])[:, None]
    random = np.random.default_rng(7)
    network.dense[:] = 0.1 * random.normal(size=len(network.dense))
    network.sums[:] = 1
    bits = np.arange(values, dtype=np.float32).view(np.uint32).astype(np.int64)
    keys = np.concatenate([(column << 32) | bits for column in range(IDS)])
    rows = np.ones((len(keys), 2 * embedding), np.float32)
    rows[:, :embedding] = network.table.first_values(keys)
    places, none = IDS + np.arange(len(keys)), np.empty(0, np.int64)
    table = network.table
    table.put(Rows(places, keys, np.zeros_like(keys), rows), Candidates(none, none, True))
    release = FrozenNet.parse(net_bytes(network))
    return Work(release, settings, [_batch(random, values) for _ in range(batches)])


def _batch(random: np.random.Generator, values: int) -> tuple[Vectors, NDArray[np.float64]]:
    vectors = np.empty((BATCH, NUMBERS + IDS), np.float32)
    vectors[:, :NUMBERS] = np.clip(random.normal(size=(BATCH, NUMBERS)), -4, 4)
    vectors[:, NUMBERS:] = random.integers(0, values, (BATCH, IDS))
    odds = vectors[:, 0] * vectors[:, 1] + vectors[:, NUMBERS] % 3 - 1
    return vectors, (random.random(BATCH) < 1 / (1 + np.exp(-odds))).astype(np.float64)


def ours(work: Work) -> Step:
    """Our learner, all sums at FIRST_SUM."""
    learner = EmbeddingNet.warm_start(work.release, work.settings, SCHEMA)
    learner.network.sums[:] = FIRST_SUM
    learner.network.table.rows[:, learner.network.table.width :] = FIRST_SUM

    def step(vectors: Vectors, labels: NDArray[np.float64]) -> float:
        return log_loss(labels, learner.learn_many(vectors, labels)) or 0.0

    return step


def torchs(work: Work, adam: bool, threads: int) -> tuple[Step, list[Any]]:
    """Torch eager with sparse slopes, and the batches as it takes them."""
    import torch

    network = work.release.network
    embedding, layers = as_torch(network)
    optimizers = _optimizers(embedding, layers, adam)
    places = torch.arange(IDS) * (len(network.table) // IDS) + IDS

    def made(vectors: torch.Tensor) -> torch.Tensor:
        ids = embedding(vectors[:, NUMBERS:].long() + places).flatten(1)
        numbers = vectors[:, :NUMBERS]
        out: torch.Tensor = layers(torch.cat([numbers, torch.zeros_like(numbers), ids], 1))
        return out[:, 0]

    def step(vectors: Any, labels: Any) -> float:
        torch.set_num_threads(threads)
        for optimizer in optimizers:
            optimizer.zero_grad()
        total = torch.nn.functional.binary_cross_entropy_with_logits(
            made(vectors), labels, reduction="sum"
        )
        total.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        return total.item() / len(labels)

    return step, [(torch.from_numpy(v), torch.from_numpy(y).float()) for v, y in work.batches]


def as_torch(network: Network) -> tuple[torch.nn.Embedding, torch.nn.Sequential]:
    """A network's embeddings, one row an entry, and its layers, as most people write them."""
    import torch

    table, shape = network.table, network.shape
    values = torch.from_numpy(table.rows[: table.used, : table.width].copy())
    embedding = torch.nn.Embedding(len(values), table.width, _weight=values, sparse=True)
    modules: list[torch.nn.Module] = []
    for weights, biases in shape.layers(network.dense):
        layer = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights.T.copy()))
            layer.bias.copy_(torch.from_numpy(biases.copy()))
        modules += [layer, torch.nn.ReLU()]
    return embedding, torch.nn.Sequential(*modules[:-1])


def forward(
    network: Network, embedding: torch.nn.Embedding, layers: torch.nn.Sequential, vectors: Vectors
) -> torch.Tensor:
    """What the torch modules make of vectors, (rows, outputs), before center and scale."""
    import torch

    found, _ = network.find(vectors)
    numeric = network.shape.numeric_places
    numbers = np.empty((len(vectors), 2 * len(numeric)), np.float32)
    no_ids = np.empty((len(vectors), 0), np.int64)
    fill_inputs(vectors, numeric, network.scaling, no_ids, network.table.rows, numbers)
    ids = embedding(torch.from_numpy(found)).flatten(1)
    made: torch.Tensor = layers(torch.cat([torch.from_numpy(numbers), ids], dim=1))
    return made


def _optimizers(
    embedding: torch.nn.Embedding, layers: torch.nn.Sequential, adam: bool
) -> list[torch.optim.Optimizer]:
    from torch import optim

    ids, dense = list(embedding.parameters()), list(layers.parameters())
    if adam:
        return [optim.SparseAdam(ids, RATE), optim.Adam(dense, RATE, fused=True)]
    return [
        optim.Adagrad(ids, RATE, initial_accumulator_value=FIRST_SUM),
        optim.Adagrad(dense, RATE, initial_accumulator_value=FIRST_SUM, fused=True),
    ]


def seconds_per_call(call: Callable[[], object], calls: int) -> float:
    """The median of so many calls."""
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def _examples_per_second(step: Step, batches: list[Any]) -> float:
    started = time.perf_counter()
    for vectors, labels in batches:
        step(vectors, labels)
    return len(batches) * BATCH / (time.perf_counter() - started)


def same_losses(work: Work) -> bool:
    """Whether both have the same loss on each of some batches, learning them as they go."""
    mine, (theirs, batches) = ours(work), torchs(work, adam=False, threads=1)
    for own, (vectors, labels) in list(zip(work.batches, batches, strict=True))[:_COMPARED]:
        if abs(mine(*own) - theirs(vectors, labels)) > 1e-5:
            return False
    return True


def _predictions(work: Work, samples: dict[str, list[float]], calls: int) -> None:
    """Time predictions of 1 and of 64 rows; torch's own of one row."""
    import torch

    learner = EmbeddingNet.warm_start(work.release, work.settings, SCHEMA)
    vectors = work.batches[0][0]
    for rows in (1, 64):
        some = vectors[:rows].copy()
        taken = seconds_per_call(lambda some=some: learner.predict_many(some), calls)  # type: ignore[misc]
        samples.setdefault(f"net_predict_{rows}", []).append(taken * 1e6)
    network, modules, one = work.release.network, as_torch(work.release.network), vectors[:1].copy()
    torch.set_num_threads(1)
    with torch.no_grad():
        taken = seconds_per_call(lambda: forward(network, *modules, one), calls)
    samples.setdefault("torch_predict_1", []).append(taken * 1e6)


def net_rounds(quick: bool) -> dict[str, Any]:
    """Compare, then time ours and torch's ways in turn: samples, ratios, equal and skipped."""
    if find_spec("torch") is None:
        reason = "torch is not installed: pip install tidemill[torch]"
        return {"samples": {}, "ratios": {}, "equal": True, "skipped": {"torch_sparse": reason}}
    values, batches, rounds = (2_000, 20, 1) if quick else (VALUES, 40, 5)
    rates: dict[str, list[float]] = {}
    times: dict[str, list[float]] = {}
    equal = True
    ratios = {}
    for size, (embedding, hidden) in SIZES.items():
        work = make_work(embedding, hidden, values, batches)
        equal = same_losses(work) and equal
        _rounds(work, size, rounds, rates, threads=(1,) if quick else (1, 2))
        if size == "net":
            for _ in range(rounds):
                _predictions(work, times, 20 if quick else 300)
        best = max(np.median(v) for name, v in rates.items() if name.startswith(f"torch_{size}:"))
        ratios["torch_sparse" + size.removeprefix("net")] = float(np.median(rates[size]) / best)
    samples = {name.replace(":", "_"): ("1/s", found) for name, found in rates.items()}
    samples |= {name: ("us", found) for name, found in times.items()}
    return {"samples": samples, "ratios": ratios, "equal": equal, "skipped": {}}


def _rounds(
    work: Work, size: str, rounds: int, rates: dict[str, list[float]], threads: tuple[int, ...]
) -> None:
    ways: dict[str, tuple[Step, list[Any]]] = {size: (ours(work), work.batches)}
    for adam in (False, True):
        for count in threads:
            name = f"torch_{size}:{'adam' if adam else 'adagrad'}_{count}"
            ways[name] = torchs(work, adam, count)
    for step, batches in ways.values():
        _examples_per_second(step, batches[:3])
    for _ in range(rounds):
        for name, (step, batches) in ways.items():
            rates.setdefault(name, []).append(_examples_per_second(step, batches))
