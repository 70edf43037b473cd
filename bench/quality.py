"""How good the mixture is against peers, on streams served as they come: predict, then learn.

Every method scores the same rows in the same order and learns a label when it is known. `ratios`
are a peer's log-loss divided by the mixture's on the rows that both scored (> 1: the mixture is
better). Intervals are 95 %, from a paired bootstrap of whole days or stretches. A slow peer sees
only the first rows; `rows` says how many, and the mixture is compared with it on those.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from bench._peers import PeerFailed
from bench._result import own_versions, result
from bench.streams.bootstrap import Estimate, Floats, measure
from bench.streams.contests import Contest, Entrant, contests
from bench.streams.service import (
    Releases,
    Service,
    last_label,
    never_retrained,
    refitted,
    retrained,
    serve,
)
from bench.streams.stream import Stream, steps
from bench.streams.tables import Missing
from learners.trees import FrozenTrees
from tidemill.errors import TidemillError

OURS = "mixture"
_SECONDS = 1_200.0  # more than the slowest entrant takes


@dataclass
class Outcome:
    """The scores of one stream's methods over its scored rows, or their first ones."""

    stream: Stream
    scores: dict[str, Floats] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    equal: bool = True


def run(quick: bool) -> dict[str, object]:
    """Play every stream: ours here, the other programs beside, one after the other."""
    found, skipped = {}, {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        waiting = []
        for name, contest in contests(quick).items():
            try:
                outcome = Outcome(contest.make())
            except (Missing, TidemillError) as error:
                skipped[name] = str(error)
                continue
            found[name] = outcome
            entrants = contest.entrants
            if quick:
                entrants = {n: e for n, e in entrants.items() if not e.peer.own}
                absent = sorted(set(contest.entrants) - set(entrants))
                outcome.skipped = dict.fromkeys(absent, "not in a quick run")
            waiting.append(beside.submit(_invite, outcome, entrants, Path(folder)))
            _play(outcome, contest)
        for done in waiting:
            done.result()
    return _result(found, skipped)


def _play(outcome: Outcome, contest: Contest) -> None:
    """Our service, and LightGBM as people use it."""
    stream = outcome.stream
    releases = Releases(stream, contest.trainer)
    theirs = releases if contest.lightgbm is None else Releases(stream, contest.lightgbm)
    methods: Mapping[str, Callable[[], Floats]] = {
        "last_label": lambda: last_label(stream),
        "lightgbm": lambda: never_retrained(theirs),
        "lightgbm_refit": lambda: refitted(theirs),
        "lightgbm_retrained": lambda: retrained(theirs),
        "single": lambda: serve(Service(contest.single), releases),
        OURS: lambda: serve(contest.mixture, releases),
    }
    for name, scores in methods.items():
        outcome.scores[name] = scores()
    outcome.equal = _equal(theirs)


def _equal(releases: Releases) -> bool:
    """True when our walk of the trees says what LightGBM's own predictor says."""
    text, rows = releases.text(releases.stream.start_ms), releases.stream.vectors[:1_000]
    theirs = lightgbm.Booster(model_str=text.decode()).predict(rows)
    ours = FrozenTrees.parse(text).predict_many(rows)
    return bool(np.allclose(ours, np.asarray(theirs), rtol=0, atol=1e-9))


def _invite(outcome: Outcome, entrants: Mapping[str, Entrant], folder: Path) -> None:
    """Let the other programs sit the exam, one after the other."""
    for method, entrant in entrants.items():
        try:
            outcome.scores[method] = _sit(outcome.stream, entrant, folder)
        except PeerFailed as failure:
            outcome.skipped[method] = str(failure)


def _sit(stream: Stream, entrant: Entrant, folder: Path) -> Floats:
    shown = stream if entrant.rows is None else stream.first(entrant.rows)
    exam = {
        "data": str(folder / "exam.npz"),
        "scores": str(folder / "scores.npy"),
        "file": str(folder / "told.json"),
        "options": dict(entrant.options),
    }
    if not entrant.peer.missing:
        np.savez(
            folder / "exam.npz", vectors=shown.vectors, labels=shown.labels.astype(np.int8),
            categorical=np.isin(shown.schema.names, shown.schema.categorical),
            schedule=schedule(shown, entrant.history),
        )  # fmt: skip
    entrant.peer.run(exam, folder / "told.json", _SECONDS)
    scores: Floats = np.load(folder / "scores.npy")
    return scores[shown.scored]


def schedule(stream: Stream, history: int | None) -> Floats:
    """What a peer is asked, in order: row k is scored as k, learned as -k - 1.

    Of the rows before the first scored one, only the newest `history` are learned.
    """
    first = 0 if history is None else max(0, stream.warm - history)
    parts: list[Any] = []
    for step in steps(stream, stream.step_ms):
        parts.append(step.asked[step.asked >= stream.warm])
        parts.append(-step.known[step.known >= first] - 1)
    return np.concatenate(parts)


def _result(found: Mapping[str, Outcome], skipped: Mapping[str, str]) -> dict[str, object]:
    measures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    reasons = dict(skipped)
    for name, outcome in found.items():
        reasons |= {f"{name}/{peer}": why for peer, why in outcome.skipped.items()}
        _compare(name, outcome, measures, ratios)
    told = result(
        "quality", {}, equal=all(outcome.equal for outcome in found.values()), ratios={},
        skipped=reasons, versions=own_versions("lightgbm", "numpy", "river"),
    )  # fmt: skip
    entrants = {e.peer for contest in contests(False).values() for e in contest.entrants.values()}
    told["versions"] |= {peer.package: peer.version() for peer in entrants if peer.own}  # type: ignore[operator]
    return told | {"measures": measures, "ratios": ratios}


def _compare(
    name: str, outcome: Outcome, measures: dict[str, Any], ratios: dict[str, float]
) -> None:
    stream = outcome.stream
    if stream.truth is not None:
        outcome.scores["truth"] = stream.truth[stream.scored]
    ours: dict[int, dict[str, Estimate]] = {}
    for method, scores in sorted(outcome.scores.items()):
        rows = len(scores)
        part = slice(stream.warm, stream.warm + rows)
        labels, blocks = stream.labels[part], stream.blocks[part]
        if rows not in ours:
            ours[rows] = measure(labels, outcome.scores[OURS][:rows], blocks)
        theirs = ours[rows] if method == OURS else measure(labels, scores, blocks)
        for kind, estimate in theirs.items():
            measures[f"{name}/{method}/{kind}"] = _measure(estimate, kind, rows)
        if method in (OURS, "truth"):
            continue
        for kind in ("auc", "log_loss"):
            lead = ours[rows][kind] - theirs[kind]
            measures[f"{name}/{OURS}-{method}/{kind}"] = _measure(lead, kind, rows)
        ratios[f"{name}/{method}"] = round(
            theirs["log_loss"].value / ours[rows]["log_loss"].value, 4
        )
    if name == "flights":
        _months(outcome, measures)


def _months(outcome: Outcome, measures: dict[str, Any]) -> None:
    """AUC of every month for the plot."""
    stream = outcome.stream
    month = stream.times[stream.scored].astype("datetime64[ms]").astype("datetime64[M]")
    for method in ("lightgbm", "lightgbm_refit", "lightgbm_retrained", "single", OURS):
        for one in np.unique(month):
            rows = np.flatnonzero(month == one)
            part = measure(
                stream.labels[stream.scored][rows], outcome.scores[method][rows],
                stream.blocks[stream.scored][rows],
            )  # fmt: skip
            measures[f"flights/{method}/auc/{one}"] = _measure(part["auc"], "auc", len(rows))


def _measure(estimate: Estimate, kind: str, rows: int) -> dict[str, Any]:
    return {
        "value": round(estimate.value, 5),
        "unit": "nats" if kind == "log_loss" else "1",
        "samples": [round(estimate.value, 5)],
        "interval": [round(end, 5) for end in estimate.interval],
        "rows": rows,
    }
