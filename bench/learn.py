"""Examples a second of the learners, each against the peers that do the same.

Parts, each with its own data and peers: the linear learner (bench/_learn_linear.py), the head on
trees (bench/_learn_head.py), the embedding net (bench/_learn_net.py).
"""

from __future__ import annotations

from collections.abc import Callable

from bench._learn_head import head_rounds
from bench._learn_linear import linear_rounds
from bench._learn_net import net_rounds
from bench._result import Part, joined

PARTS: tuple[Callable[[bool], Part], ...] = (linear_rounds, head_rounds, net_rounds)


def run(quick: bool) -> dict[str, object]:
    """Run every part, one after the other."""
    return joined("learn", [part(quick) for part in PARTS])
