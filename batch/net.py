"""A net release from a declaration's settings, trained with torch (the extra `torch`).

    release = NetTrainer(EmbeddingNet(), schema, BINARY).train(vectors, labels)

One look at the data gives the numbers' means and spreads and the ids seen often enough; then some
epochs of AdaGrad over shuffled rows, with sparse slopes for the embeddings. What a release has of
the optimizer's sums primes the online learner that starts from it. The same data gives the same
bytes on the same machine: one thread, and a shuffle by the settings' seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batch.progress import Progress, Silent
from learners.learner import Vectors, checked_labels, checked_weights
from learners.net.embedding_net import first_network
from learners.net.frozen_net import net_bytes, shape_of
from learners.net.layers import fill_inputs
from learners.net.moments import take_in
from learners.net.network import Network
from learners.net.table import FIRST_SUM, Candidates, Rows
from tidemill.learner_kinds import EmbeddingNet
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


class NetTrainer:
    """Trains on vectors of one schema in `epochs` passes, `batch_rows` rows a step."""

    def __init__(  # noqa: PLR0913  what a trainer is made of, each with a default where one fits
        self,
        settings: EmbeddingNet,
        schema: FeatureSchema,
        task: Task,
        *,
        epochs: int = 3,
        batch_rows: int = 256,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.schema, self.task = settings, schema, task
        self._epochs, self._batch_rows = epochs, batch_rows
        self._progress = progress or Silent()

    def train(
        self,
        vectors: Vectors,
        labels: NDArray[np.generic],
        stage: str = "train",
        weights: Floats | None = None,
    ) -> bytes:
        """A release for `FrozenNet.parse`. Raises ValueError for labels of another task."""
        outcomes = checked_labels(self.task, labels, len(vectors))
        importances = checked_weights(weights, len(vectors))
        network = self._prepare(vectors, outcomes, importances)
        embedding, layers = as_torch(network)
        with _one_thread():
            self._progress.start(stage, self._epochs)
            sums = self._fit(network, embedding, layers, (vectors, outcomes, importances))
        _take_over(network, embedding, layers, sums)
        return net_bytes(network)

    def _prepare(self, vectors: Vectors, outcomes: Floats, weights: Floats) -> Network:
        """A network that knows the data's means and ids, and otherwise nothing."""
        settings = self.settings
        shape = shape_of(self.task, self.schema, settings.embedding, settings.hidden)
        network = first_network(shape, settings)
        vectors = network.checked(vectors)
        take_in(network.moments, network.scaling, vectors, shape.numeric_places)
        network.rescale()
        if self.task.kind == "regression":
            network.center = float(np.average(outcomes, weights=weights))
            variance = np.average((outcomes - network.center) ** 2, weights=weights)
            network.scale = float(np.sqrt(variance)) or 1.0
        _admit(network, vectors, settings)
        return network

    def _fit(
        self,
        network: Network,
        embedding: torch.nn.Embedding,
        layers: torch.nn.Sequential,
        data: tuple[Vectors, Floats, Floats],
    ) -> dict[Any, Any]:
        """Train; the optimizer's sums by parameter."""
        import torch

        vectors, outcomes, weights = data
        vectors = network.checked(vectors)
        targets = torch.from_numpy((outcomes - network.center) / network.scale)
        parameters = [*embedding.parameters(), *layers.parameters()]
        rate = self.settings.learning_rate
        optimizer = torch.optim.Adagrad(parameters, rate, initial_accumulator_value=FIRST_SUM)
        random = np.random.default_rng(self.settings.seed)
        for _ in range(self._epochs):
            order = random.permutation(len(vectors))
            for start in range(0, len(order), self._batch_rows):
                rows = order[start : start + self._batch_rows]
                optimizer.zero_grad()
                made = forward(network, embedding, layers, vectors[rows])
                losses = _losses(self.task, made, targets[rows])
                # The sum, not the mean: a sum of squared slopes then counts examples, as online.
                (losses * torch.from_numpy(weights[rows])).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            self._progress.advance()
        return {parameter: optimizer.state[parameter]["sum"] for parameter in parameters}


def as_torch(network: Network) -> tuple[torch.nn.Embedding, torch.nn.Sequential]:
    """A network's embeddings, one row an entry, and its layers, as torch modules."""
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


def _losses(task: Task, made: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    if task.kind == "multiclass":
        return functional.cross_entropy(made, targets.long(), reduction="none")
    if task.kind == "regression":
        # Beyond so many units the slope is constant, as in the online learner.
        return functional.huber_loss(made[:, 0], targets.float(), reduction="none", delta=8.0)
    return functional.binary_cross_entropy_with_logits(
        made[:, 0], targets.float(), reduction="none"
    )


def _admit(network: Network, vectors: Vectors, settings: EmbeddingNet) -> None:
    """Give a row to every id seen often enough; to the most frequent where there are too many."""
    table = network.table
    keys, counts = np.unique(network.find(vectors)[1], return_counts=True)
    order = np.lexsort((keys, -counts))[: settings.max_rows]
    chosen = np.sort(keys[order[counts[order] >= settings.admit_after]])
    values = np.full((len(chosen), 2 * table.width), FIRST_SUM, np.float32)
    values[:, : table.width] = table.first_values(chosen)
    numbers = table.columns + np.arange(len(chosen), dtype=np.int64)
    none = np.empty(0, np.int64)
    table.put(Rows(numbers, chosen, np.zeros_like(chosen), values), Candidates(none, none, True))


def _take_over(
    network: Network,
    embedding: torch.nn.Embedding,
    layers: torch.nn.Sequential,
    sums: dict[Any, Any],
) -> None:
    """Write trained weights and the optimizer's sums into the network."""
    import torch

    table, width = network.table, network.table.width
    rows = table.rows[: table.used]
    rows[:, :width] = embedding.weight.detach().numpy()
    rows[:, width:] = sums[embedding.weight].numpy()
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    shape = network.shape
    places = zip(linear, shape.layers(network.dense), shape.layers(network.sums), strict=True)
    for layer, (weights, biases), (weight_sums, bias_sums) in places:
        weights[:], biases[:] = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
        weight_sums[:], bias_sums[:] = sums[layer.weight].numpy().T, sums[layer.bias].numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Steps this small are slower on several threads, and sums would depend on how many."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_num_threads(threads)
