"""Training the net release: examples a second against plain PyTorch loops, and each option's gain.

Two sets of rows: `flights`-like ones (60 numbers, 4 ids of 2 000 values) and `ids` (8 numbers, 12
ids of 50 000 values). The peers are loops as most people write them, on one thread as ours is:
numbers standardised and ids numbered with NumPy, one `nn.Embedding` with dense slopes, Adagrad;
`torch_loader` takes its batches from a `DataLoader`, `torch_tensors` cuts them from shuffled
tensors. They are timed end to end like `NetTrainer.train`, after log-losses on other rows were
compared: ours may not be worse by more than .005. Options are timed by the epoch, from the second
on, so that what is compiled or started once does not count; `gain` is their rate over that of the
same net without. `kept` is what a batch of 4096 rows keeps for the way back. With a GPU everything
but threads and processes is timed on it as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from batch.trainers.net.trainer import NetTrainer
from batch.trainers.trainer import TrainingRows
from bench._result import median, own_versions, result
from learners.net.frozen_net import FrozenNet
from learners.quality import log_loss
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY
from tidemill.trainer_kinds import NetModel

TOLERANCE = 0.005  # nats by which our log-loss may be worse
NET = NetModel(device="cpu")
WIDE = replace(NET, hidden=(256, 128), batch_rows=4096)
LARGE = replace(NET, batch_rows=4096)

Samples = dict[str, tuple[str, list[float]]]


@dataclass(frozen=True)
class Work:
    """Rows to train on and others to be judged on."""

    schema: FeatureSchema
    rows: TrainingRows
    others: TrainingRows


@dataclass
class Clock:
    """Progress that notes when each epoch was over."""

    ends: list[float] = field(default_factory=list)

    def start(self, stage: str, steps: int) -> None:
        """Epochs follow."""

    def advance(self, steps: int = 1) -> None:
        """One is over."""
        if steps:
            self.ends.append(time.perf_counter())


def make_work(rows: int, numbers: int, ids: int, values: int) -> Work:
    """Labels that depend on numbers, products of two of them, and ids, common and rare ones."""
    names = tuple(f"number_{i}" for i in range(numbers)) + tuple(f"id_{i}" for i in range(ids))
    random = np.random.default_rng(7)
    total = rows + 20_000
    vectors = random.normal(size=(total, numbers + ids)).astype(np.float32)
    vectors[:, numbers:] = np.minimum(random.zipf(1.2, (total, ids)), values) - 1
    odds = np.tanh(vectors[:, :numbers] @ random.normal(0, 0.3, numbers)) * 1.5 - 1
    for column in range(ids):
        odds += random.normal(0, 0.5, values)[vectors[:, numbers + column].astype(int)]
    for one, other in random.integers(0, numbers, (10, 2)).tolist():
        odds += 0.3 * vectors[:, one] * vectors[:, other]
    third = vectors[:, : numbers // 3]
    third[random.random(third.shape) < 0.05] = np.nan
    labels = (random.random(total) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    every = TrainingRows.of(vectors, labels)
    parts = [every.take(np.arange(rows)), every.take(np.arange(rows, total))]
    return Work(FeatureSchema(names, names[numbers:], ""), *parts)


def ours(work: Work, settings: NetModel, **changed: Any) -> tuple[float, list[float], float]:
    """Seconds of a training, of each of its epochs, and the log-loss on other rows."""
    clock = Clock()
    trainer = NetTrainer(settings, work.schema, BINARY, progress=clock, **changed)
    started = time.perf_counter()
    model = trainer.train(work.rows)
    seconds = time.perf_counter() - started
    scores = FrozenNet.parse(model.data).predict_many(work.others.vectors)
    epochs = np.diff([started, *clock.ends]).tolist()
    return seconds, epochs, log_loss(work.others.labels, scores) or 0.0


def plain(work: Work, settings: NetModel, loader: bool) -> tuple[float, float]:
    """Seconds of a training as most people write it, and its log-loss on other rows."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    started = time.perf_counter()
    (numbers, ids), judged, entries = _plain_inputs(work)
    embedding = torch.nn.Embedding(entries, settings.embedding)
    torch.nn.init.uniform_(embedding.weight, -0.1, 0.1)
    sizes = [numbers.shape[1] + settings.embedding * ids.shape[1], *settings.hidden]
    modules: list[torch.nn.Module] = []
    for before, after in zip(sizes[:-1], sizes[1:], strict=True):
        modules += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    layers = torch.nn.Sequential(*modules, torch.nn.Linear(sizes[-1], 1))
    parameters = [*embedding.parameters(), *layers.parameters()]
    optimizer = torch.optim.Adagrad(parameters, settings.learning_rate)

    def output(numbers: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = layers(torch.cat([numbers, embedding(ids).flatten(1)], 1))
        return made[:, 0]

    labels = torch.from_numpy(work.rows.labels).float()
    batches = _loaded if loader else _cut
    for _ in range(settings.epochs):
        for some_numbers, some_ids, some_labels in batches(
            (numbers, ids, labels), settings.batch_rows
        ):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                output(some_numbers, some_ids), some_labels
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        scores = torch.sigmoid(output(*judged)).numpy().astype(np.float64)
    return seconds, log_loss(work.others.labels, scores) or 0.0


def _plain_inputs(work: Work) -> tuple[Any, Any, int]:
    """Standardised numbers beside flags of what is missing, numbered ids, of both; entries."""
    import torch

    wide = len(work.schema.names) - len(work.schema.categorical)
    both = (work.rows.vectors, work.others.vectors)
    means = np.nanmean(both[0][:, :wide], axis=0)
    spreads = np.nanstd(both[0][:, :wide], axis=0)
    numbered, entries = [], 0
    for column in range(wide, len(work.schema.names)):
        known = np.unique(both[0][:, column])
        places = [np.minimum(np.searchsorted(known, v[:, column]), len(known) - 1) for v in both]
        rare = [known[p] != v[:, column] for p, v in zip(places, both, strict=True)]
        numbered.append(
            [np.where(r, 0, p + 1) + entries for p, r in zip(places, rare, strict=True)]
        )
        entries += len(known) + 1
    made = []
    for number, vectors in enumerate(both):
        scaled = np.nan_to_num((vectors[:, :wide] - means) / spreads)
        inputs = np.concatenate([scaled, np.isnan(vectors[:, :wide])], axis=1, dtype=np.float32)
        ids = np.stack([pair[number] for pair in numbered], axis=1)
        made.append((torch.from_numpy(inputs), torch.from_numpy(ids)))
    return made[0], made[1], entries


def _loaded(tensors: Any, rows: int) -> Any:
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*tensors), batch_size=rows, shuffle=True)


def _cut(tensors: Any, rows: int) -> Any:
    import torch

    order = torch.randperm(len(tensors[0]))
    for start in range(0, len(order), rows):
        some = order[start : start + rows]
        yield tuple(tensor[some] for tensor in tensors)


def against_peers(
    name: str, work: Work, rounds: int, samples: Samples, ratios: dict[str, float]
) -> bool:
    """Time ours and the plain loops in turn; whether ours learned as well."""
    count = len(work.rows) * NET.epochs
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "net": lambda: ours(work, NET)[::2],
        "torch_loader": lambda: plain(work, NET, loader=True),
        "torch_tensors": lambda: plain(work, NET, loader=False),
    }
    found: dict[str, list[tuple[float, float]]] = {way: [train()] for way, train in ways.items()}
    for _ in range(rounds):
        for way, train in ways.items():
            found[way].append(train())
    for way, made in found.items():
        # The first of each warmed up what is compiled or loaded once.
        samples[f"{name}_{way}"] = ("1/s", [count / seconds for seconds, _ in made[1:]])
        samples[f"{name}_{way}_log_loss"] = ("nats", [loss for _, loss in made[1:]])
    rates = {way: median(samples[f"{name}_{way}"][1]) for way in ways}
    for way in ("torch_loader", "torch_tensors"):
        ratios[f"{way}_{name}"] = rates["net"] / rates[way]
    losses = {way: median([loss for _, loss in made]) for way, made in found.items()}
    return losses["net"] <= min(losses.values()) + TOLERANCE


def options_of(device: Literal["cpu", "cuda"]) -> dict[str, tuple[NetModel, dict[str, Any], str]]:
    """What is tried: settings, what the trainer is told, and the name of what it is compared to."""
    made: dict[str, tuple[NetModel, dict[str, Any], str]] = {}
    for name, plain_net in (("small", NET), ("large_batch", LARGE), ("wide", WIDE)):
        base = replace(plain_net, device=device)
        made[name] = (base, {}, "small")
        made[f"{name}_bfloat16"] = (replace(base, bfloat16=True), {}, name)
        made[f"{name}_compiled"] = (replace(base, compiled=True), {}, name)
        made[f"{name}_checkpointed"] = (replace(base, checkpointed=True), {}, name)
        made[f"{name}_lars"] = (replace(base, optimizer="lars"), {}, name)
        if device == "cpu":
            made[f"{name}_threads_2"] = (base, {"threads": 2}, name)
            made[f"{name}_processes_2"] = (replace(base, processes=2), {}, name)
    return made


def options(
    device: Literal["cpu", "cuda"],
    work: Work,
    rounds: int,
    samples: Samples,
    skipped: dict[str, str],
) -> None:
    """Time each option by the epoch: rates, losses, and gains over the net without it."""
    from batch.trainers.net.device import device_of, why_not_compiled

    lacking = why_not_compiled(device_of(device))
    for round_number in range(rounds):
        for name, (settings, told, _) in options_of(device).items():
            if settings.compiled and lacking:
                skipped[f"{device}_{name}"] = lacking
                continue
            _, epochs, loss = ours(work, settings, **told)
            rate = len(work.rows) / min(epochs[1:])
            samples.setdefault(f"{device}_{name}", ("1/s", []))[1].append(rate)
            if not round_number:
                samples[f"{device}_{name}_log_loss"] = ("nats", [loss])
    for name, (_, _, without) in options_of(device).items():
        if f"{device}_{name}" in samples and name != without:
            gain = median(samples[f"{device}_{name}"][1])
            gain /= median(samples[f"{device}_{without}"][1])
            samples[f"{device}_{name}_gain"] = ("1", [gain])


def streaming(work: Work, rounds: int, samples: Samples) -> None:
    """Time rows that are encoded batch by batch, with a thread that is ahead and without."""

    def rate(ahead: int | None) -> float:
        clock = Clock()
        trainer = NetTrainer(replace(NET, epochs=3), work.schema, BINARY, progress=clock)
        if ahead is not None:
            trainer.encoded_bytes = 0
            trainer.ahead = ahead
        trainer.train(work.rows)
        return len(work.rows) / float(np.diff(clock.ends).min())

    ways = {"resident": None, "streamed": NetTrainer.ahead, "streamed_without_thread": 0}
    for _ in range(rounds):
        for name, ahead in ways.items():
            samples.setdefault(f"loader_{name}", ("1/s", []))[1].append(rate(ahead))


def kept_bytes(work: Work, hidden: tuple[int, ...], checkpointed: bool) -> float:
    """What a batch of 4096 rows keeps between the way there and the way back, inputs included."""
    import torch

    from batch.trainers.net.inputs import Inputs
    from batch.trainers.net.model import TorchNet
    from batch.trainers.net.preparing import prepared, targets_of

    rows = work.rows.take(np.arange(min(4096, len(work.rows))))
    network = prepared(replace(NET, hidden=hidden), work.schema, BINARY, rows.vectors)
    inputs = Inputs(
        network, rows.vectors, targets_of(network, rows.labels, rows.weights), rows.weights
    )
    batch, kept = inputs.all(), {}
    net = TorchNet(network, inputs.kept, sparse=False, checkpointed=checkpointed)
    weights = {parameter.data_ptr() for parameter in net.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made = net(batch.numbers, batch.ids)
    del made
    return float(sum(kept.values()))


def run(quick: bool) -> dict[str, object]:
    """Compare losses, then time ours, the peers and each option in turn."""
    if find_spec("torch") is None:
        reason = "torch is not installed: pip install tidemill[torch]"
        return result(
            "net_training", {}, equal=True, ratios={}, skipped={"torch": reason}, versions={}
        )
    import torch

    samples: Samples = {}
    ratios: dict[str, float] = {}
    skipped: dict[str, str] = {}
    rows, rounds = (4_000, 1) if quick else (100_000, 5)
    flights, ids = make_work(rows, 60, 4, 2_000), make_work(rows, 8, 12, 50_000)
    equal = against_peers("flights", flights, rounds, samples, ratios)
    equal = against_peers("ids", ids, rounds, samples, ratios) and equal
    streaming(flights, rounds, samples)
    deep = (256, 128, 128, 64)
    for checkpointed in (False, True):
        name = "kept_checkpointed" if checkpointed else "kept"
        samples[name] = ("B", [kept_bytes(flights, deep, checkpointed)])
    versions = own_versions("torch", "numpy", "numba")
    if quick:
        skipped["options"] = "not in a quick run"
        return result(
            "net_training", samples, equal=equal, ratios=ratios, skipped=skipped, versions=versions
        )
    options("cpu", flights, 3, samples, skipped)
    if torch.cuda.is_available():
        versions["gpu"] = torch.cuda.get_device_name()
        options("cuda", flights, 3, samples, skipped)
        for name in ("small", "large_batch", "wide"):
            over = median(samples[f"cuda_{name}"][1]) / median(samples[f"cpu_{name}"][1])
            samples[f"cuda_{name}_over_cpu"] = ("1", [over])
    else:
        skipped["cuda"] = "no GPU here"
    return result(
        "net_training", samples, equal=equal, ratios=ratios, skipped=skipped, versions=versions
    )
