"""The contests of `bench quality`: each stream, how we serve it, and who else takes part.

How the settings were chosen is told in docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench._peers import Peer
from bench.streams.clicks import ClickSettings, simulate_clicks
from bench.streams.flights import read_flights
from bench.streams.service import Service
from bench.streams.stream import Stream
from bench.streams.tables import read_elec, read_river
from tidemill.learner_kinds import EmbeddingNet, LearnerKind, Linear, Mixture, TreeHead
from tidemill.trainer_kinds import LightGBM, LinearModel

RIDGE = 2.0  # of linear releases

CAPYMOA = Peer("capymoa_arf", "capymoa", own=True)
RIVER = Peer("river_models", "river", own=False)
VW = Peer("vw_logistic", "vowpalwabbit", own=True)


@dataclass(frozen=True)
class Entrant:
    """A peer with its options; slow ones see only so much of a stream.

    `rows` are the scored rows it gets to, `history` the newest rows before them that it learns.
    """

    peer: Peer
    options: Mapping[str, Any] = field(default_factory=dict)
    rows: int | None = None
    history: int | None = None


@dataclass(frozen=True)
class Contest:
    """A stream, our service for it (`mixture`, and `single` with one learner), the entrants.

    `lightgbm` trains the peers that are LightGBM; None: they are the releases of our service.
    """

    make: Callable[[], Stream]
    trainer: LightGBM | LinearModel
    single: LearnerKind
    mixture: Service
    entrants: Mapping[str, Entrant]
    lightgbm: LightGBM | None = None


def river(
    arf_rows: int | None = None, rows: int | None = None, history: int | None = None
) -> dict[str, Entrant]:
    """River's three classifiers."""
    return {
        "river_arf": Entrant(RIVER, {"model": "arf"}, arf_rows, history),
        "river_alma": Entrant(RIVER, {"model": "alma"}, rows),
        "river_logistic": Entrant(RIVER, {"model": "logistic"}, rows),
    }


def entrants(trees: int, arf_rows: int | None = None) -> dict[str, Entrant]:
    """Those who take part where a stream is short."""
    return {
        **river(arf_rows),
        "vw": Entrant(VW, {"arguments": ""}),
        "capymoa_arf": Entrant(CAPYMOA, {"trees": trees}, arf_rows),
    }


def heads(*rates: float) -> tuple[LearnerKind, ...]:
    """Heads that learn at different speeds."""
    return tuple(TreeHead(f"head_{rate:g}".replace(".", "_"), rate) for rate in rates)


def contests(quick: bool) -> dict[str, Contest]:
    """All of them; `quick` has the smallest alone."""
    if quick:
        return {"phishing": _phishing()}
    return {
        "phishing": _phishing(),
        "bananas": _bananas(),
        "elec": _elec(),
        "shuttle": _shuttle(),
        "clicks": _clicks(),
        "flights": _flights(),
    }


def _phishing() -> Contest:
    mixture = Mixture("mixture", (*heads(0.003, 0.01, 0.03), Linear(learning_rate=0.1)))
    return Contest(
        lambda: read_river("Phishing", warm=250, every=100),
        LightGBM(leaves=15, rounds=60, learning_rate=0.08, min_rows_per_leaf=10),
        TreeHead(learning_rate=0.01), Service(mixture), entrants(100),
    )  # fmt: skip


def _bananas() -> Contest:
    mixture = Mixture("mixture", heads(0.002, 0.01, 0.03))
    return Contest(
        lambda: read_river("Bananas", warm=500, every=500),
        LightGBM(leaves=15, rounds=80, learning_rate=0.08),
        TreeHead(learning_rate=0.002), Service(mixture), entrants(100),
    )  # fmt: skip


def _elec() -> Contest:
    experts = (*heads(0.03, 0.1, 0.3), Linear(learning_rate=0.1))
    mixture = Mixture("mixture", experts, recent=(0.5, 2.0, 10.0))
    return Contest(
        read_elec, LightGBM(leaves=31, rounds=100, learning_rate=0.08),
        TreeHead(learning_rate=0.1), Service(mixture, replay_rows=1_000), entrants(100, 20_000),
    )  # fmt: skip


def _shuttle() -> Contest:
    mixture = Mixture("mixture", heads(0.002, 0.01, 0.03))
    return Contest(
        lambda: read_river("Shuttle", warm=2_000, every=2_000),
        LightGBM(leaves=31, rounds=100, learning_rate=0.08),
        TreeHead(learning_rate=0.002), Service(mixture), entrants(100, arf_rows=10_000),
    )  # fmt: skip


def _clicks() -> Contest:
    rates = (0.05, 0.1, 0.2, 0.5, 1.0)
    linear = tuple(
        Linear(f"linear_{k}", learning_rate=r, hash_bits=None) for k, r in enumerate(rates)
    )
    settings = ClickSettings(
        rows=150_000, per_second=1.5, users=2_000, advertisements=300, sites=60,
        half_life_ms=6 * 3_600_000,
    )  # fmt: skip
    return Contest(
        lambda: simulate_clicks(settings), LinearModel(ridge=RIDGE, hash_bits=None),
        Linear(learning_rate=0.2, hash_bits=None),
        Service(Mixture("mixture", (*linear, EmbeddingNet())), retrain=False),
        {
            **river(10_000, None, 10_000),
            "vw": Entrant(VW, {"arguments": ""}),
            "capymoa_arf": Entrant(CAPYMOA, {"trees": 30}, 10_000, 10_000),
        },
        LightGBM(leaves=31, rounds=100, min_rows_per_leaf=50),
    )  # fmt: skip


def _flights() -> Contest:
    # Stackers, and heads that learn fast, look best when the labels of the same hours have just
    # been learned; hours before, when the request was scored, none of them was known.
    mixture = Mixture("mixture", heads(0.0005, 0.001), memories=())
    return Contest(
        read_flights,
        LightGBM(
            leaves=63, rounds=400, learning_rate=0.025, min_rows_per_leaf=50, feature_share=0.3
        ),
        TreeHead(learning_rate=0.001), Service(mixture),
        {
            **river(15_000, 50_000, 10_000),
            "vw": Entrant(VW, {"arguments": ""}),
            "capymoa_arf": Entrant(CAPYMOA, {"trees": 30}, 15_000, 10_000),
        },
    )  # fmt: skip
