"""How good a model comes of the same minutes: our search, FLAML, Optuna's random, the defaults.

Each tuner is a process of its own on the same two cores, one after the other, round by round with
another seed. It gets the rows whose label was known when the first test row was asked for, searches
for the budget, and trains what it found on all of them; what it finds after the budget (some end
the trial they are at) does not count. All score the same test rows, which are later.

`ratios` are a peer's log-loss divided by ours (> 1: ours is better); `…/flaml` is the better of
FLAML's two runs, with all its learners and with LightGBM alone, `…/time_to_flaml` how many times as
long FLAML took to its final test score as ours took to the same, 0 when ours never got there.
`settings` are what each tuner ended with, by its own names.
`python -m bench tune --minutes 15` has another budget than five minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench._peers import Peer, PeerFailed
from bench._result import own_versions, result
from bench._tune_curves import SHARES, Curve, WrongAnswers, read_curve
from bench.peers.tuning import Rows, Tuning
from bench.streams.bootstrap import measure
from bench.streams.clicks import ClickSettings, simulate_clicks
from bench.streams.flights import read_flights
from bench.streams.stream import Stream
from cli.demo.options import PROJECT_FILE, month_start_ms
from tidemill.durations import HOUR_MS
from tidemill.errors import TidemillError

CORES, ROUNDS, MINUTES = 2, 1, 5.0
QUICK_SECONDS = 3.0
# Of flights: trained on May to August, tested on September and October. The search's settings were
# chosen on tests up to August; its way with copies was looked for after it had lost here.
FIRST_MONTH, TEST_MONTH, LAST_MONTH = 5, 9, 10
_REFIT_SECONDS = 1_800.0  # more than all of a tuner's incumbents take

OURS = "ours"
FLAML = ("flaml_all", "flaml_lightgbm")


@dataclass(frozen=True)
class Tuner:
    """A program that searches, and what it is told besides the rows."""

    peer: Peer
    options: Mapping[str, Any]


def tuners() -> dict[str, Tuner]:
    """All of them, in the order in which they run."""
    flaml = Peer("flaml_automl", "flaml", own=True)
    return {
        OURS: Tuner(Peer("_tune_ours", "tidemill", own=False, folder="bench"), {}),
        "flaml_all": Tuner(flaml, {"split": "time", "estimators": "auto", "transform": True}),
        "flaml_lightgbm": Tuner(
            flaml, {"split": "time", "estimators": ["lgbm"], "transform": False}
        ),
        "optuna_random": Tuner(Peer("optuna_random", "optuna", own=False), {}),
        "lightgbm_defaults": Tuner(Peer("lightgbm_defaults", "lightgbm", own=False), {}),
    }


@dataclass
class Contest:
    """One data set's curves by tuner, a curve a round, and who did not take part."""

    stream: Stream
    curves: dict[str, list[Curve]]
    skipped: dict[str, str]
    equal: bool = True


def run(quick: bool, minutes: float = MINUTES) -> dict[str, object]:
    """Let every tuner search both data sets."""
    seconds = QUICK_SECONDS if quick else minutes * 60
    chosen = tuners()
    if quick:
        chosen = {name: tuner for name, tuner in chosen.items() if not tuner.peer.own}
    found: dict[str, Contest] = {}
    skipped: dict[str, str] = {}
    for name in ("clicks", "flights"):
        try:
            stream = clicks(quick) if name == "clicks" else _flights(quick)
        except TidemillError as error:
            skipped[name] = str(error)
            continue
        found[name] = contest(stream, chosen, seconds, 1 if quick else ROUNDS)
        absent = set(tuners()) - set(chosen)
        found[name].skipped |= dict.fromkeys(absent, "not in a quick run")
    return _result(found, skipped, seconds, chosen)


def clicks(quick: bool) -> Stream:
    """Clicks of three days; what changes at once does so well before the test rows."""
    rows, per_second = (6_000, 0.02) if quick else (200_000, 0.75)
    return simulate_clicks(
        ClickSettings(
            rows, per_second, users=5_000, advertisements=500, sites=100,
            half_life_ms=48 * HOUR_MS, change_at=0.4, warm_share=0.7, seed=11,
        )
    )  # fmt: skip


def _flights(quick: bool) -> Stream:
    if quick:
        raise TidemillError("not in a quick run")
    begin, start = month_start_ms(FIRST_MONTH), month_start_ms(TEST_MONTH)
    return read_flights(PROJECT_FILE, last_month=LAST_MONTH).between(begin, start)


def rows_of(stream: Stream) -> Rows:
    """What a tuner sees: rows known when the first test row was asked for, in the order of time."""
    known = np.sort(stream.known(stream.start_ms))
    return Rows(
        stream.vectors[known], stream.labels[known].astype(np.int8), stream.times[known],
        stream.label_times[known], stream.vectors[stream.scored], np.array(stream.schema.names),
        np.isin(stream.schema.names, stream.schema.categorical),
    )  # fmt: skip


def contest(stream: Stream, chosen: Mapping[str, Tuner], seconds: float, rounds: int) -> Contest:
    """Let the tuners search in turn, as many times as there are rounds."""
    found = Contest(stream, {name: [] for name in chosen}, {})
    with tempfile.TemporaryDirectory() as folder:
        rows, data = rows_of(stream), Path(folder) / "rows.npz"
        rows.write(data)
        for number in range(rounds):
            for name, tuner in chosen.items():
                if name in found.skipped:
                    continue
                tuning = Tuning(
                    str(data), str(data.with_name("scores.npy")), str(data.with_name("told.json")),
                    seconds, CORES, number + 1, dict(tuner.options),
                )  # fmt: skip
                try:
                    found.curves[name].append(_tuned(tuner, tuning, stream, rows.digest()))
                except PeerFailed as failure:
                    if name == OURS:
                        raise
                    found.skipped[name] = str(failure)
                except WrongAnswers as wrong:
                    found.skipped[name], found.equal = str(wrong), False
    return found


def _tuned(tuner: Tuner, tuning: Tuning, stream: Stream, digest: str) -> Curve:
    told = Path(tuning.file)
    tuner.peer.run(asdict(tuning), told, tuning.seconds + _REFIT_SECONDS)
    return read_curve(told, Path(tuning.scores), stream.labels[stream.scored], digest)


def _result(
    found: Mapping[str, Contest],
    skipped: Mapping[str, str],
    seconds: float,
    chosen: Mapping[str, Tuner],
) -> dict[str, object]:
    measures: dict[str, Any] = {"budget": _told("s", [seconds])}
    ratios: dict[str, float] = {}
    reasons = dict(skipped)
    for name, one in found.items():
        reasons |= {f"{name}/{tuner}": why for tuner, why in one.skipped.items()}
        curves = {tuner: each for tuner, each in one.curves.items() if each}
        for tuner, each in curves.items():
            measures |= _measures(f"{name}/{tuner}", each, seconds)
        if OURS in curves:
            measures |= _leads(name, one.stream, curves)
            ratios |= {f"{name}/{key}": value for key, value in _ratios(curves).items()}
    told = result(
        "tune", {}, equal=all(one.equal for one in found.values()), ratios={}, skipped=reasons,
        versions=own_versions("lightgbm", "numpy", "optuna"),
    )  # fmt: skip
    peers = {tuner.peer for tuner in chosen.values() if tuner.peer.own}
    told["versions"] |= {peer.package: peer.version() for peer in peers}  # type: ignore[operator]
    settings = {
        f"{name}/{tuner}": [curve.settings for curve in each]
        for name, one in found.items()
        for tuner, each in one.curves.items()
    }
    return told | {"measures": measures, "ratios": ratios, "settings": settings}


def _measures(name: str, curves: list[Curve], seconds: float) -> dict[str, Any]:
    """Of one tuner: how good its last model is, and how good that of each moment was."""
    found = {
        f"{name}/log_loss": _told("nats", [curve.final for curve in curves]),
        f"{name}/search": _told("s", [curve.search_seconds for curve in curves]),
        f"{name}/refit": _told("s", [curve.refit_seconds for curve in curves]),
    }
    for share in SHARES:
        losses = [curve.at(share * seconds) for curve in curves]
        if np.isfinite(losses).all():
            found[f"{name}/log_loss/at/{share * seconds:g}s"] = _told("nats", losses)
    return found


def _leads(name: str, stream: Stream, curves: Mapping[str, list[Curve]]) -> dict[str, Any]:
    """The AUCs, and how much lower our log-loss is, with the interval of a bootstrap of blocks.

    All rounds' scores are one long list; a block has its rows in each of them.
    """
    labels, blocks = stream.labels[stream.scored], stream.blocks[stream.scored]
    found: dict[str, Any] = {}
    estimates = {
        tuner: measure(
            np.tile(labels, len(each)), np.concatenate([curve.scores for curve in each]),
            np.tile(blocks, len(each)),
        )
        for tuner, each in curves.items()
    }  # fmt: skip
    for tuner, estimate in estimates.items():
        found[f"{name}/{tuner}/auc"] = _told("1", [estimate["auc"].value])
        if tuner != OURS:
            lead = estimates[OURS]["log_loss"] - estimate["log_loss"]
            low, high = lead.interval
            found[f"{name}/{OURS}-{tuner}/log_loss"] = _told("nats", [lead.value]) | {
                "interval": [round(low, 5), round(high, 5)]
            }
    return found


def _ratios(curves: Mapping[str, list[Curve]]) -> dict[str, float]:
    """Mean log-losses over ours; the better of FLAML's runs is what it is judged by."""
    means = {name: float(np.mean([c.final for c in each])) for name, each in curves.items()}
    found = {name: means[name] / means[OURS] for name in means if name != OURS}
    best = min((name for name in FLAML if name in means), key=means.__getitem__, default=None)
    if best is not None:
        found["flaml"] = means[best] / means[OURS]
        pairs = zip(curves[best], curves[OURS], strict=False)
        found["time_to_flaml"] = float(np.median([times_as_fast(*pair) for pair in pairs]))
    return {name: round(value, 4) for name, value in found.items()}


def times_as_fast(theirs: Curve, ours: Curve) -> float:
    """How many times as long they took to their final score as we to the same; 0: we never did."""
    needed, taken = theirs.reached(theirs.final), ours.reached(theirs.final)
    return 0.0 if needed is None or taken is None else needed / max(taken, 1e-3)


def _told(unit: str, values: list[float]) -> dict[str, Any]:
    samples = [round(float(value), 5) for value in values]
    return {"value": round(float(np.median(samples)), 5), "unit": unit, "samples": samples}
