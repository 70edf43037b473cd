"""A net in training: epochs over shuffled rows, a step for each batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from batch.trainers.net.device import why_not_compiled
from batch.trainers.net.inputs import Batch, Inputs
from batch.trainers.net.loader import Loader, Parts
from batch.trainers.net.model import TorchNet, losses_of, take_over
from batch.trainers.net.optimizers import Optimizers
from learners.net.network import Network
from tidemill.errors import TrainingFailed
from tidemill.trainer_kinds import NetModel

_LOG = logging.getLogger(__name__)
_LOOK = 100  # steps between looks at the losses: each makes a GPU wait
_DENSE_SHARE = (
    16  # of a table so many times as large as what a batch uses, sparse slopes are faster
)


@dataclass(frozen=True, slots=True)
class Group:
    """Processes that train one net together: which this is, and how many there are."""

    rank: int = 0
    size: int = 1


class Fitting:
    """Trains a copy of a network's weights on batches of inputs.

    What is minimised is the sum of a batch's losses, not their mean: sums of squared slopes then
    count examples, as the online learner's do. In a `group` each process takes every so-many-th row
    of a batch, and slopes are added up over all of them.
    """

    def __init__(  # noqa: PLR0913  what a training is made of
        self,
        network: Network,
        inputs: Inputs,
        loader: Loader,
        settings: NetModel,
        device: torch.device,
        group: Group,
    ) -> None:
        self._network, self._loader, self._settings = network, loader, settings
        self._kept, self._rows = inputs.kept, len(inputs)
        self._device, self._group = device, group
        sparse = self._sparse()
        net = TorchNet(network, inputs.kept, sparse, settings.checkpointed).to(device)
        for parameter in net.parameters():
            parameter.requires_grad_(bool(parameter.numel()))
        self.optimizers = Optimizers(net, settings, settings.epochs * self.steps)
        self._net = self._made_fast(net)
        self.place = (0, 0)
        """Epoch and step of what is being done, from 1."""

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self._rows // self._settings.batch_rows)

    def epoch(self, number: int, first: int = 0) -> Iterator[int]:
        """Train an epoch (from 0) from a step on; yields how many steps of it are done.

        Raises TrainingFailed when a loss is no number.
        """
        losses: list[torch.Tensor] = []
        done = first
        with closing(self._loader.batches(self._parts(number, first))) as batches:
            for batch in batches:
                self.place = (number + 1, done + 1)
                losses.append(self._step(batch, self._rows_of(done)))
                done += 1
                if len(losses) == _LOOK or done == self.steps:
                    self._look_at(losses, number, done)
                    losses = []
                yield done

    def write_to(self, network: Network) -> None:
        """Put the weights and sums of now into a network. TrainingFailed when one is no number."""
        values, sums = self.optimizers.values(), self.optimizers.sums()
        if not all(np.isfinite(array).all() for array in (*values.values(), *sums.values())):
            raise TrainingFailed(self._unfit(*self.place, "weights that are no numbers"))
        take_over(network, self._kept, values, sums)

    def _step(self, batch: Batch, rows: int) -> torch.Tensor:
        self.optimizers.zero()
        with self._lowered():
            made = self._net(batch.numbers, batch.ids)
        losses = losses_of(self._network.shape.task, made, batch.targets)
        # Slopes are averaged over the processes; their sum is wanted.
        loss = (losses * batch.weights).sum() * self._group.size
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers.step(rows)
        return loss.detach()

    def _look_at(self, losses: list[torch.Tensor], epoch: int, done: int) -> None:
        bad = (~torch.isfinite(torch.stack(losses))).nonzero().flatten()
        if len(bad):
            step = done - len(losses) + int(bad[0]) + 1
            loss = losses[int(bad[0])].item()
            raise TrainingFailed(self._unfit(epoch + 1, step, f"a loss of {loss}"))

    def _unfit(self, epoch: int, step: int, found: str) -> str:
        rate = self._settings.learning_rate
        return (
            f"net: epoch {epoch}, step {step}: found {found} at learning_rate {rate}; "
            "allowed: a finite one: lower NetModel.learning_rate"
        )

    def _parts(self, epoch: int, first: int) -> Parts:
        """Which rows each batch of an epoch has: they depend on seed and epoch alone."""
        random = np.random.default_rng((self._settings.seed, epoch))
        order, size = random.permutation(self._rows), self._settings.batch_rows
        starts = range(first * size, self._rows, size)
        rank, step = self._group.rank, self._group.size
        return [order[start : start + size][rank::step] for start in starts]

    def _rows_of(self, step: int) -> int:
        return min(self._settings.batch_rows, self._rows - step * self._settings.batch_rows)

    def _sparse(self) -> bool:
        """Whether the embeddings' slopes are better kept for the rows used only."""
        if self._device.type == "cuda" and self._group.size > 1:
            return False  # NCCL adds up no sparse ones
        columns = len(self._network.shape.categorical_places)
        used = min(self._settings.batch_rows, self._rows) * columns
        return self._network.table.used > _DENSE_SHARE * used

    def _lowered(self) -> AbstractContextManager[Any]:
        if not self._settings.bfloat16:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def _made_fast(self, net: TorchNet) -> torch.nn.Module:
        if self._settings.compiled:
            lacking = why_not_compiled(self._device)
            if lacking:
                _LOG.warning("net: trained without torch.compile: %s", lacking)
            else:
                # One shape but for the last batch's: that of any size is compiled only then.
                net.dense = torch.compile(net.dense)
        if self._group.size == 1:
            return net
        return torch.nn.parallel.DistributedDataParallel(net)
