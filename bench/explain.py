"""What each feature added to one score, and to 64: ours against LightGBM's pred_contrib.

`trees` are the contributions of 200 frozen trees of 63 leaves over 50 features, `net` those of a
net of 46 numbers and 4 ids. The peer has the same trees: `pred_contrib` is
`Booster.predict(pred_contrib=True)` on one thread. Answers are compared first, within 1e-9; a net's
rows must sum to its raw score within 1e-3. A sample is the median of passes over 256 rows; ratios
are times of a row, the peer's over ours.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from bench._model_peers import Predict, Scores, Vectors
from bench._result import median, own_versions, result
from bench.model import FULL, QUICK, make_net, make_trees, microseconds, parts_of
from learners.explain.contributions import contributions
from learners.trees import FrozenTrees

BATCHES = (1, 64)
EXACT, COMPLETE = 1e-9, 1e-3


def run(quick: bool) -> dict[str, object]:
    """The fields of the result file."""
    import lightgbm

    size = QUICK if quick else FULL
    text, rows = make_trees()
    net, net_rows = make_net()
    booster = lightgbm.Booster(model_str=text.decode())

    def peer(vectors: Vectors) -> Scores:
        return np.asarray(booster.predict(vectors, pred_contrib=True, num_threads=1))

    ours: Predict = partial(contributions, FrozenTrees.parse(text))
    ways: dict[str, tuple[Predict, Vectors]] = {"trees": (ours, rows), "pred_contrib": (peer, rows)}
    ways["net"] = (partial(contributions, net), net_rows)
    equal = np.allclose(ours(rows), peer(rows), rtol=0, atol=EXACT)
    sums, scores = contributions(net, net_rows).sum(axis=1), net.predict_many(net_rows)
    equal &= np.allclose(sums, np.log(scores / (1 - scores)), rtol=0, atol=COMPLETE)
    samples: dict[str, tuple[str, list[float]]] = {}
    for _ in range(size.rounds):
        for batch in BATCHES:
            for name, (explain, vectors) in ways.items():
                taken = microseconds(explain, parts_of(vectors, batch), size.seconds)
                samples.setdefault(f"{name}_{batch}", ("us", []))[1].append(taken)
    ratio = median(samples["pred_contrib_1"][1]) / median(samples["trees_1"][1])
    return result(
        "explain",
        samples,
        equal=bool(equal),
        ratios={"pred_contrib": ratio},
        skipped={},
        versions=own_versions("lightgbm", "numba", "numpy"),
    )
