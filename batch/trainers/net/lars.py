"""LARS: steps as long as a layer's weights allow, for batches of many thousand rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from learners.net.table import FIRST_SUM

MOMENTUM, DECAY = 0.9, 0.0005  # the paper's, section 5
WARM_UP_SHARE = 0.1  # of all steps, in which the rate grows from nothing (section 3)
_LEAST_SHARE = 0.1  # of the norm that He's start gives a layer: what one that starts at 0 counts as


class Lars(torch.optim.Optimizer):
    """You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks" (2017), section 4.

    Algorithm 1, in which a layer's step is about `rate` times the norm of its weights, whatever the
    scale of its slopes; `rate` is the global rate times the trust coefficient. It falls with the
    square of what is left of all `steps` (Algorithm 1), after a warm-up (section 3). It is for
    matrices: biases have no such norm. AdaGrad's sums of squared slopes are kept beside it, because
    an online learner goes on from them.
    """

    def __init__(self, layers: Iterable[torch.Tensor], rate: float, steps: int) -> None:
        super().__init__(layers, {"rate": rate})
        self._steps, self.taken = steps, 0
        self.rows = 1
        """How many rows the next step's slopes are the sum of."""
        for layer in self.layers():
            state = self.state[layer]
            state["sum"] = torch.full_like(layer, FIRST_SUM)
            state["velocity"] = torch.zeros_like(layer)

    def layers(self) -> list[torch.Tensor]:
        """What it moves."""
        return [layer for group in self.param_groups for layer in group["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every layer against its slopes."""
        for group in self.param_groups:
            rate = group["rate"] * rate_share(self.taken, self._steps)
            for layer in group["params"]:
                state = self.state[layer]
                state["sum"].addcmul_(layer.grad, layer.grad)
                slopes, norm = layer.grad / self.rows, norm_of(layer)
                trust = norm / (slopes.norm() + DECAY * norm)
                state["velocity"].mul_(MOMENTUM).add_((slopes + DECAY * layer) * trust, alpha=rate)
                layer.sub_(state["velocity"])
        self.taken += 1


def norm_of(layer: torch.Tensor) -> torch.Tensor:
    """A layer's norm, or the least that it counts as (as in You et al., LAMB, 2020, section 3)."""
    least = _LEAST_SHARE * (2 * len(layer)) ** 0.5
    norm: torch.Tensor = layer.norm()
    return norm.clamp_min(least)


def rate_share(taken: int, steps: int) -> float:
    """The share of the rate after so many of all steps."""
    warm = max(1.0, WARM_UP_SHARE * steps)
    return min(1.0, (taken + 1) / warm) * max(0.0, 1 - taken / steps) ** 2
