"""One row through the model, and batches of 8 and 64: ours against LightGBM, lleaves and torch.

`trees` is `predict_many` of 200 frozen trees of 63 leaves over 50 features, `head` `predict_both`
of an online head on them: what the api calls, two predictions from one walk. Peers have the same
trees: `booster_predict` is `Booster.predict` on one thread, `c_api` LightGBM's C API through ctypes
(for one row its fast path), `lleaves` compiles them to machine code. `net` is `predict_many` of a
net of 46 numbers and 4 ids, `net_both` its `predict_both`; `torch` and `numpy` are the same net
eager and in NumPy. Answers are compared first, trees within 1e-12 and nets within 1e-5. Everything
runs on one core, over 256 different rows in turn, so that no branch is learned by heart; a sample
is the median of passes over them. Ratios are times of a row, the peer's over ours: those of trees
by `trees`, with `_head` by `head`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench._cores import on, two_cores
from bench._model_peers import CApi, Predict, Scores, Vectors, booster_predict, numpy_net, torch_net
from bench._peers import Peer, PeerFailed
from bench._result import median, own_versions, result
from learners.learner import Learner
from learners.net.embedding_net import EmbeddingNet, first_network
from learners.net.frozen_net import FrozenNet, net_bytes, shape_of
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.learner_kinds import EmbeddingNet as NetSettings
from tidemill.learner_kinds import TreeHead as HeadSettings
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY

LLEAVES = Peer("model_lleaves", "lleaves", own=True, extra="lleaves")
TREES, LEAVES, FEATURES, IDS = 200, 63, 50, 4
ROWS, BATCHES = 256, (1, 8, 64)
TREES_TOLERANCE, NET_TOLERANCE = 1e-12, 1e-5
COMPILE_SECONDS = 600.0


@dataclass(frozen=True)
class Size:
    """How long a sample lasts, and how many there are."""

    seconds: float
    rounds: int


FULL, QUICK = Size(1.0, 7), Size(0.05, 1)


@dataclass
class Found:
    """What the rounds brought."""

    samples: dict[str, tuple[str, list[float]]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    equal: bool = True

    def add(self, name: str, batch: int, us: float) -> None:
        """One sample of a way and a batch, in µs."""
        self.samples.setdefault(f"{name}_{batch}", ("us", []))[1].append(us)

    def ratio(self, peer: str, ours: str) -> float:
        """How many of ours fit into one of theirs, for one row."""
        return median(self.samples[f"{peer}_1"][1]) / median(self.samples[f"{ours}_1"][1])


def make_trees() -> tuple[bytes, Vectors]:
    """LightGBM's text of trees trained on noise with a trend, and rows of the same kind."""
    import lightgbm

    random = np.random.default_rng(7)
    matrix = random.normal(size=(20_000 + ROWS, FEATURES)).astype(np.float32)
    matrix[random.random(matrix.shape) < 0.05] = np.nan
    odds = np.nan_to_num(matrix[:, ::5]).sum(axis=1) + random.normal(size=len(matrix))
    data = lightgbm.Dataset(matrix[ROWS:], odds[ROWS:] > 0)
    parameters = {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 1}
    text = lightgbm.train(parameters, data, TREES).model_to_string()
    return text.encode(), matrix[:ROWS]


def make_net() -> tuple[EmbeddingNet, Vectors]:
    """A net that has learned some thousand examples, and rows of the same kind."""
    names = tuple(f"f{place}" for place in range(FEATURES))
    schema, settings = FeatureSchema(names, names[-IDS:], ""), NetSettings()
    random = np.random.default_rng(7)
    vectors = random.normal(size=(4_096, FEATURES)).astype(np.float32)
    vectors[:, -IDS:] = random.integers(0, 200, (len(vectors), IDS))
    vectors[:, :5][random.random((len(vectors), 5)) < 0.05] = np.nan
    labels = (np.nan_to_num(vectors[:, 0]) + random.normal(size=len(vectors)) > 0).astype(float)
    shape = shape_of(BINARY, schema, settings.embedding, settings.hidden)
    release = FrozenNet.parse(net_bytes(first_network(shape, settings)))
    net = EmbeddingNet.warm_start(release, settings, schema)
    net.learn_many(vectors, labels)
    return net, vectors[:ROWS]


def both(learner: Learner) -> Predict:
    """The online prediction of `predict_both`."""
    return lambda vectors: learner.predict_both(vectors)[0]


def parts_of(rows: Vectors, batch: int) -> list[Vectors]:
    """The rows in batches, as arrays of their own, as the api has them."""
    return [rows[at : at + batch].copy() for at in range(0, len(rows) - batch + 1, batch)]


def microseconds(predict: Predict, parts: Sequence[Vectors], seconds: float) -> float:
    """The time of a call: the median of passes over all parts."""
    predict(parts[0])
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        for part in parts:
            predict(part)
        taken.append((time.perf_counter() - started) / len(parts) * 1e6)
    return median(taken)


def agree(ways: Mapping[str, Predict], rows: Vectors, expected: Scores, tolerance: float) -> bool:
    """Whether each way answers every row as expected, alone and in every batch."""
    for predict in ways.values():
        for batch in BATCHES:
            found: NDArray[np.float64] = np.concatenate(
                [predict(part).copy() for part in parts_of(rows, batch)]
            )
            if not np.allclose(found, expected, rtol=0, atol=tolerance):
                return False
    return True


def measure(ways: Mapping[str, Predict], rows: Vectors, size: Size, found: Found) -> None:
    """A sample of each way and batch; the ways take turns."""
    for batch in BATCHES:
        parts = parts_of(rows, batch)
        for name, predict in ways.items():
            found.add(name, batch, microseconds(predict, parts, size.seconds))


class Lleaves:
    """Runs lleaves in its own environment; what was compiled once is kept."""

    def __init__(self, folder: Path, text: bytes, rows: Vectors, expected: Scores) -> None:
        self._folder, self._expected = folder, expected
        (folder / "model.txt").write_bytes(text)
        np.save(folder / "rows.npy", rows)

    def measure(self, size: Size, found: Found) -> None:
        """Its samples, after its scores were compared."""
        if "lleaves" in found.skipped:
            return
        file = self._folder / "lleaves.json"
        names = {"model": "model.txt", "rows": "rows.npy", "cache": "compiled.bin"}
        task = {name: str(self._folder / each) for name, each in names.items()}
        told = {"file": str(file), "batches": BATCHES, "seconds": size.seconds}
        try:
            answer = LLEAVES.run(task | told, file, COMPILE_SECONDS)
        except PeerFailed as failed:
            found.skipped["lleaves"] = str(failed)
            return
        scores = np.array(answer["scores"])
        found.equal &= bool(np.allclose(scores, self._expected, rtol=0, atol=TREES_TOLERANCE))
        for batch in BATCHES:
            found.add("lleaves", batch, answer["us"][str(batch)])


def trees(size: Size, folder: Path, found: Found) -> dict[str, float]:
    """Time the trees in every way; their ratios."""
    import lightgbm

    text, rows = make_trees()
    booster = lightgbm.Booster(model_str=text.decode())
    frozen = FrozenTrees.parse(text)
    c_api = CApi(booster, FEATURES, max(BATCHES))
    ways: dict[str, Predict] = {
        "trees": frozen.predict_many,
        "head": both(TreeHead.warm_start(frozen, HeadSettings())),
        "booster_predict": booster_predict(booster),
        "c_api": c_api.predict,
    }
    expected = ways["booster_predict"](rows)
    found.equal &= agree(ways, rows, expected, TREES_TOLERANCE)
    lleaves = Lleaves(folder, text, rows, expected)
    for _ in range(size.rounds):
        measure(ways, rows, size, found)
        lleaves.measure(size, found)
    c_api.close()
    peers = [name for name in ("booster_predict", "c_api", "lleaves") if name not in found.skipped]
    ratios = {name: found.ratio(name, "trees") for name in peers}
    return ratios | {f"{name}_head": found.ratio(name, "head") for name in peers}


def nets(size: Size, found: Found) -> dict[str, float]:
    """Time the net in every way; its ratios."""
    net, rows = make_net()
    ways: dict[str, Predict] = {
        "net": net.predict_many, "net_both": both(net), "numpy": numpy_net(net)
    }  # fmt: skip
    if find_spec("torch"):
        ways["torch"] = torch_net(net)
    else:
        found.skipped["torch"] = "torch is not installed: pip install tidemill[torch]"
    found.equal &= agree(ways, rows, net.predict_many(rows), NET_TOLERANCE)
    for _ in range(size.rounds):
        measure(ways, rows, size, found)
    return {name: found.ratio(name, "net") for name in ("numpy", "torch") if name in ways}


def run(quick: bool) -> dict[str, object]:
    """Compare, then time every way in turn."""
    size, found = QUICK if quick else FULL, Found()
    if quick:
        found.skipped["lleaves"] = "--quick"
    with tempfile.TemporaryDirectory() as folder, on(two_cores().service):
        ratios = trees(size, Path(folder), found) | nets(size, found)
    versions = own_versions("lightgbm", "numba", "numpy")
    if "torch" not in found.skipped:
        versions |= own_versions("torch")
    if "lleaves" not in found.skipped:
        versions["lleaves"] = LLEAVES.version()
    return result("model", found.samples, equal=found.equal, ratios=ratios,
                  skipped=found.skipped, versions=versions)  # fmt: skip
