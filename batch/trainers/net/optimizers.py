"""The optimizers of a net's parameters as one: AdaGrad, or LARS for the layers beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.adagrad import adagrad

from batch.trainers.net.lars import Lars
from batch.trainers.net.model import TorchNet
from learners.net.table import FIRST_SUM
from tidemill.trainer_kinds import NetModel

Arrays = dict[str, NDArray[Any]]


class Optimizers:
    """Moves every parameter of a net that has slopes, and keeps the sums of their squares.

    AdaGrad: Duchi, Hazan and Singer (JMLR 2011), diagonal, on the sums of a batch's slopes: so they
    count examples, and an online learner can go on from them. With LARS it moves the embeddings and
    the biases, LARS all other layers.
    """

    def __init__(self, net: TorchNet, settings: NetModel, steps: int) -> None:
        self._parameters = dict(net.named_parameters())
        used = {name: p for name, p in self._parameters.items() if p.requires_grad}
        large = settings.optimizer == "lars"
        layers = {n: p for n, p in used.items() if large and p.dim() == 2 and "embed" not in n}
        ids = [p for n, p in used.items() if net.embedding.sparse and n == "embedding.weight"]
        rest = [p for n, p in used.items() if n not in layers and not any(p is i for i in ids)]
        rate = settings.learning_rate
        self._lars = Lars(layers.values(), rate, steps) if layers else None
        self._all: list[torch.optim.Optimizer | _OneKernel] = [self._lars] if self._lars else []
        if rest and rest[0].device.type == "cpu":
            self._all.append(_OneKernel(rest, rate))
        elif rest:
            self._all.append(_adagrad(rest, rate))
        if ids:
            self._all.append(_adagrad(ids, rate))

    def zero(self) -> None:
        """Forget the slopes."""
        for parameter in self._parameters.values():  # a tenth of the time that theirs takes
            parameter.grad = None

    def step(self, rows: int) -> None:
        """Move by the slopes, which are sums over so many rows."""
        if self._lars:
            self._lars.rows = rows
        for optimizer in self._all:
            optimizer.step()

    def values(self) -> Arrays:
        """The parameters by name, as they are now."""
        return {name: _array(p.detach()) for name, p in self._parameters.items()}

    def sums(self) -> Arrays:
        """Their sums of squared slopes."""
        return {name: self._kept(name, "sum", FIRST_SUM) for name in self._parameters}

    def state(self) -> Arrays:
        """Everything that a training goes on from."""
        state = {f"value {name}": value for name, value in self.values().items()}
        state |= {f"sum {name}": value for name, value in self.sums().items()}
        if self._lars:
            state["taken"] = np.array([self._lars.taken], np.int64)
            state |= {f"velocity {n}": self._kept(n, "velocity", 0) for n in self._parameters}
        return state

    @torch.no_grad()
    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Be as those were whose `state` this is. Raises KeyError or RuntimeError for another's."""
        for name, parameter in self._parameters.items():
            parameter.copy_(_tensor(state[f"value {name}"]))
            kept = self._state_of(parameter)
            for kind in ("sum", "velocity"):
                if kind in kept:
                    kept[kind].copy_(_tensor(state[f"{kind} {name}"]))
        if self._lars:
            self._lars.taken = int(state["taken"][0])

    def _state_of(self, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        found = [o.state[parameter] for o in self._all if parameter in o.state]
        return found[0] if found else {}

    def _kept(self, name: str, kind: str, first: float) -> NDArray[Any]:
        parameter = self._parameters[name]
        return _array(self._state_of(parameter).get(kind, torch.full_like(parameter, first)))


class _OneKernel:
    """torch's fused AdaGrad without what its optimizers look up and note down at every step.

    Of a step of 256 rows that is a fifth.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], rate: float) -> None:
        self._parameters, self._rate = parameters, rate
        self.state = _adagrad(parameters, rate).state
        self._sums, self._steps = (
            [self.state[parameter][name] for parameter in parameters] for name in ("sum", "step")
        )

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter against its slopes."""
        slopes = [p.grad for p in self._parameters if p.grad is not None]  # all have
        adagrad(
            list(self._parameters), slopes, self._sums, self._steps, fused=True, foreach=False,
            has_sparse_grad=False, differentiable=False, has_complex=False, lr=self._rate,
            weight_decay=0.0, lr_decay=0.0, eps=1e-10, maximize=False,
        )  # fmt: skip


def _adagrad(parameters: list[torch.nn.Parameter], rate: float) -> torch.optim.Adagrad:
    return torch.optim.Adagrad(parameters, rate, initial_accumulator_value=FIRST_SUM)


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.array(tensor.detach().cpu().numpy())


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
