"""A network's embeddings and layers as a torch module, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from learners.net.network import Network
from learners.net.table import FIRST_SUM
from tidemill.tasks import Task

_TOGETHER = (
    2  # layers whose results are made again together; of a lone one there is nothing to save
)
HUBER_UNITS = 8.0  # beyond so many units a regression's slope is constant, as in the online learner

Layer = tuple[torch.Tensor, torch.Tensor]


class TorchNet(torch.nn.Module):
    """The layers of a network over batches of `Inputs`, to be trained.

    The first layer is two products, of the numbers and of the embeddings: nothing is joined, and no
    slope is computed for the numbers. With `sparse` the embeddings' slopes have the rows used.
    With `checkpointed` the results of every other layer are made again on the way back instead of
    kept: Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016, arXiv:1604.06174), 4.
    """

    def __init__(
        self, network: Network, kept: NDArray[np.int64], sparse: bool, checkpointed: bool = False
    ) -> None:
        super().__init__()
        self._checkpointed = checkpointed
        table, shape = network.table, network.shape
        values = torch.from_numpy(table.rows[: table.used, : table.width].copy())
        self.embedding = torch.nn.Embedding(len(values), table.width, _weight=values, sparse=sparse)
        layers = shape.layers(network.dense)
        above = 2 * len(shape.numeric_places)
        self.numbers = _parameter(layers[0][0][kept].T)
        self.ids = _parameter(layers[0][0][above:].T)
        self.weights = torch.nn.ParameterList([_parameter(w.T) for w, _ in layers[1:]])
        self.biases = torch.nn.ParameterList([_parameter(b) for _, b in layers])
        self.dense = self._dense
        """Everything above the embeddings: (numbers, embedded) to outputs; may be compiled."""

    def forward(self, numbers: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Outputs (rows, outputs) before center and scale."""
        made: torch.Tensor = self.dense(numbers, self.embedding(ids).flatten(1))
        return made.float()

    def _dense(self, numbers: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        if not self._checkpointed:
            return self._rest(self._first(numbers, embedded), 0, len(self.weights))
        made = cast(torch.Tensor, checkpoint(self._start, numbers, embedded, use_reentrant=False))
        for begin in range(_TOGETHER - 1, len(self.weights), _TOGETHER):
            end = min(begin + _TOGETHER, len(self.weights))
            made = cast(torch.Tensor, checkpoint(self._rest, made, begin, end, use_reentrant=False))
        return made

    def _start(self, numbers: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        end = min(_TOGETHER - 1, len(self.weights))
        return self._rest(self._first(numbers, embedded), 0, end)

    def _first(self, numbers: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.biases[0]
        if self.ids.numel():
            made = functional.linear(embedded, self.ids, made)
        if self.numbers.numel():
            made = functional.linear(numbers, self.numbers) + made
        return made if made.dim() == 2 else made.expand(len(numbers), -1)

    def _rest(self, made: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """The layers after the first, from one to another."""
        for number in range(begin, end):
            made = functional.linear(
                torch.relu(made), self.weights[number], self.biases[number + 1]
            )
        return made


def _parameter(values: NDArray[np.float32]) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.from_numpy(np.array(values, np.float32, order="C")))


def losses_of(task: Task, made: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of each row (rows,) from a net's outputs (rows, outputs)."""
    if task.kind == "multiclass":
        return functional.cross_entropy(made, targets, reduction="none")
    if task.kind == "regression":
        return functional.huber_loss(made[:, 0], targets, reduction="none", delta=HUBER_UNITS)
    return functional.binary_cross_entropy_with_logits(made[:, 0], targets, reduction="none")


def take_over(
    network: Network, kept: NDArray[np.int64], values: Mapping[str, Any], sums: Mapping[str, Any]
) -> None:
    """Write trained values and the optimizer's sums, each by parameter's name, into the network."""
    table, shape = network.table, network.shape
    network.sums[:] = FIRST_SUM  # of weights that had no slope
    rows, width = table.rows[: table.used], table.width
    above = 2 * len(shape.numeric_places)
    rows[:, :width], rows[:, width:] = values["embedding.weight"], sums["embedding.weight"]
    for given, flat in ((values, network.dense), (sums, network.sums)):
        layers = shape.layers(flat)
        layers[0][0][kept] = given["numbers"].T
        layers[0][0][above:] = given["ids"].T
        for number, (weights, biases) in enumerate(layers):
            biases[:] = given[f"biases.{number}"]
            if number:
                weights[:] = given[f"weights.{number - 1}"].T
