"""The linear learner at 20 features: examples a second against Vowpal Wabbit's driver and River.

Ten numbers and ten hashed categories per example, FTRL-proximal with the same settings everywhere,
one core each, progressive: predict, then learn. Each reads its data in the form it likes best: ours
arrays from a file, Vowpal Wabbit its own cache file by its own driver, River dicts that are ready
in memory. `vw` is Vowpal Wabbit with `--ftrl` on one core, `vw_two_cores` the same with its parser
in a thread on another, `vw_default` its default (adaptive, normalised, invariant) on one. `river`
predicts and learns, `river_learn_only` only learns.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench._peers import Peer, PeerFailed
from bench._result import Part, median, own_versions
from learners.linear.table import Table, rule_of
from learners.quality import log_loss
from tidemill.learner_kinds import Linear
from tidemill.tasks import BINARY

BITS, NUMBERS, CATEGORIES, WIDTH = 18, 10, 10, 20
SETTINGS = Linear(learning_rate=0.1, beta=1.0, l1=0.01, l2=0.1, max_step=None)
BATCH = 4096
VW = Peer("vw_driver", "vowpalwabbit", own=True)
RIVER = Peer("river_ftrl", "river", own=True)
RIVER_ROWS = 20_000
_LONGEST = 300.0  # seconds


class Examples(NamedTuple):
    """Rows of 20 pairs: int32 slots and float32 values (rows, 20), labels (rows,) of 0 and 1."""

    slots: NDArray[np.int32]
    values: NDArray[np.float32]
    labels: NDArray[np.int8]

    def first(self, rows: int) -> Examples:
        """The first rows."""
        return Examples(self.slots[:rows], self.values[:rows], self.labels[:rows])


def make_examples(rows: int) -> Examples:
    """Numbers are standard normal; categories follow Zipf's law, each column its own."""
    random = np.random.default_rng(7)
    values = np.ones((rows, WIDTH), np.float32)
    values[:, :NUMBERS] = random.normal(size=(rows, NUMBERS)).round(4)
    slots = np.empty((rows, WIDTH), np.int32)
    slots[:, :NUMBERS] = np.arange(NUMBERS)
    codes = random.zipf(1.3, (rows, CATEGORIES)) % 100_000
    spread = (codes * 2_654_435_761 + np.arange(CATEGORIES) * 40_503) % (2**32)
    slots[:, NUMBERS:] = NUMBERS + (spread >> 8) % ((1 << BITS) - NUMBERS)
    truth = random.normal(size=1 << BITS) * 0.5
    odds = (truth[slots] * values).sum(axis=1) - 1
    return Examples(slots, values, (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8))


def write_examples(examples: Examples, folder: Path) -> None:
    """As arrays for ours, as text for Vowpal Wabbit (which makes its cache of it) and River."""
    examples.slots.tofile(folder / "slots")
    examples.values.tofile(folder / "values")
    examples.labels.tofile(folder / "labels")
    with open(folder / "text", "w", encoding="ascii") as text:
        for slots, values, label in zip(*(part.tolist() for part in examples), strict=True):
            numbers = " ".join(f"{slots[i]}:{values[i]:g}" for i in range(NUMBERS))
            rest = " ".join(map(str, slots[NUMBERS:]))
            text.write(f"{2 * label - 1} | {numbers} {rest}\n")


def read_and_learn(folder: Path) -> tuple[float, NDArray[np.float64], NDArray[np.int8]]:
    """Seconds from files to learned, the progressive scores and the labels."""
    started = time.perf_counter()
    slots = np.fromfile(folder / "slots", np.int32)
    values = np.fromfile(folder / "values", np.float32)
    labels = np.fromfile(folder / "labels", np.int8)
    table = Table(BINARY, rule_of(SETTINGS, BINARY), 1 << BITS)
    scores = []
    for start in range(0, len(labels), BATCH):
        rows = slice(start, start + BATCH)
        pairs = slice(start * WIDTH, (start + BATCH) * WIDTH)
        starts = np.arange(len(labels[rows]) + 1) * WIDTH
        learned = table.learn_checked((starts, slots[pairs], values[pairs]), labels[rows])
        scores.append(learned[:, 0])
    return time.perf_counter() - started, np.concatenate(scores), labels


def reference_scores(examples: Examples) -> NDArray[np.float64]:
    """McMahan et al., Algorithm 1, in plain Python."""
    rate, beta, l1, l2 = SETTINGS.learning_rate, SETTINGS.beta, SETTINGS.l1, SETTINGS.l2
    z: dict[int, float] = defaultdict(float)
    n: dict[int, float] = defaultdict(float)

    def weight(slot: int) -> float:
        pull = abs(z[slot]) - l1
        scale = (beta + math.sqrt(n[slot])) / rate + l2
        return -math.copysign(pull, z[slot]) / scale if pull > 0 else 0.0

    scores = []
    for slots, values, label in zip(*(part.tolist() for part in examples), strict=True):
        pairs = list(zip(slots, values, strict=True))
        score = 1 / (1 + math.exp(-sum(value * weight(slot) for slot, value in pairs)))
        scores.append(score)
        for slot, value in pairs:
            gradient = (score - label) * value
            sigma = (math.sqrt(n[slot] + gradient**2) - math.sqrt(n[slot])) / rate
            z[slot] += gradient - sigma * weight(slot)
            n[slot] += gradient**2
    return np.array(scores)


@contextmanager
def one_core() -> Iterator[None]:
    """This process, and those it starts, on one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _ask(peer: Peer, folder: Path, **more: object) -> dict[str, Any]:
    file = folder / f"{peer.module}.json"
    settings = {name: getattr(SETTINGS, name) for name in ("learning_rate", "beta", "l1", "l2")}
    told = {"file": str(file), "folder": str(folder), "bits": BITS, **settings, **more}
    return peer.run(told, file, _LONGEST)


def _vw(folder: Path, rows: int, found: dict[str, list[float]]) -> None:
    """A round of Vowpal Wabbit."""
    with one_core():
        for name, rule in (("vw", "ftrl"), ("vw_default", "default")):
            told = _ask(VW, folder, rule=rule)
            found.setdefault(name, []).append(rows / told["seconds"])
            found.setdefault(f"{name}_log_loss", []).append(told["loss"] / rows)
    told = _ask(VW, folder, rule="ftrl")
    found.setdefault("vw_two_cores", []).append(rows / told["seconds"])


def _river(folder: Path, rows: int, found: dict[str, list[float]]) -> None:
    """A round of River, on fewer rows: it is slow."""
    rows = min(rows, RIVER_ROWS)
    with one_core():
        told = _ask(RIVER, folder, rows=rows)
    found.setdefault("river", []).append(rows / told["seconds"])
    found.setdefault("river_learn_only", []).append(rows / told["learn_seconds"])


PEERS = {"vw": _vw, "river": _river}


def _equal(examples: Examples, scores: NDArray[np.float64]) -> bool:
    """Progressive log-loss, and every score, as the reference has them, to 1e-6."""
    expected = reference_scores(examples)
    ours, theirs = (log_loss(examples.labels, some) or 0.0 for some in (scores, expected))
    return abs(ours - theirs) < 1e-6 and bool(np.abs(scores - expected).max() < 1e-6)


def linear_rounds(quick: bool) -> Part:
    """Compare with the reference, then time ours and the peers' in turn."""
    rows, compared, rounds = (4_000, 1_000, 1) if quick else (400_000, 20_000, 7)
    examples = make_examples(rows)
    found: dict[str, list[float]] = {}
    skipped = {"vw": "--quick", "river": "--quick"} if quick else {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_examples(examples, folder)
        _, scores, _ = read_and_learn(folder)  # compiles, and fills the page cache
        equal = _equal(examples.first(compared), scores[:compared])
        for _ in range(rounds):
            with one_core():
                seconds, scores, labels = read_and_learn(folder)
            found.setdefault("linear_examples", []).append(rows / seconds)
            found.setdefault("linear_log_loss", []).append(log_loss(labels, scores) or 0.0)
            for name, peer in PEERS.items():
                try:
                    if name not in skipped:
                        peer(folder, rows, found)
                except PeerFailed as error:
                    skipped[name] = str(error)
    return _part(found, skipped, equal)


def _part(found: dict[str, list[float]], skipped: dict[str, str], equal: bool) -> Part:
    ours = median(found["linear_examples"])
    peers = ("vw", "vw_two_cores", "vw_default", "river", "river_learn_only")
    ratios = {name: ours / median(found[name]) for name in peers if name in found}
    named = {f"{name}_examples" if name in peers else name: some for name, some in found.items()}
    units = {name: "nats" if name.endswith("loss") else "1/s" for name in named}
    used = {"vw": VW, "river": RIVER}
    versions = {p.package: p.version() for name, p in used.items() if name not in skipped}
    return {
        "samples": {name: (units[name], some) for name, some in named.items()},
        "ratios": ratios,
        "skipped": skipped,
        "versions": own_versions("numba", "numpy") | versions,
        "equal": equal,
    }
