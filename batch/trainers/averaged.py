"""Several tree models as one that says their average."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_TREE = re.compile(r"(?m)^Tree=\d+$")
_VALUES = re.compile(r"(?m)^(leaf_value|internal_value)=(.*)$")
_IMPORTANCE = re.compile(r"(?m)^(.+)=(\d+)$")
_END = "end of trees\n"
_IMPORTANCES, _PARAMETERS = "\nfeature_importances:\n", "\nparameters:\n"


def averaged(texts: Sequence[str]) -> str:
    """LightGBM's text of all models' trees, each leaf's value divided by how many models there are.

    Raw scores are sums over trees, so the sum of all is the models' mean (Breiman, Bagging
    Predictors, 1996, of models that differ by their seeds alone).
    """
    if len(texts) == 1:
        return texts[0]
    head, blocks = "", []
    for text in texts:
        head, *found = _TREE.split(text.partition(_END)[0])
        blocks += [_divided(block, len(texts)) for block in found]
    # The sizes of trees only speed up reading.
    head = re.sub(r"(?m)^tree_sizes=.*\n", "", head)
    trees = "".join(f"Tree={number}{block}" for number, block in enumerate(blocks))
    return f"{head}{trees}{_END}{_tail(texts)}"


def _divided(block: str, by: int) -> str:
    def divide(match: re.Match[str]) -> str:
        values = (repr(float(value) / by) for value in match[2].split())
        return f"{match[1]}={' '.join(values)}"

    return _VALUES.sub(divide, block)


def _tail(texts: Sequence[str]) -> str:
    """How often all models use each feature, and the first one's parameters."""
    used: Counter[str] = Counter()
    for text in texts:
        counts = text.partition(_IMPORTANCES)[2].partition(_PARAMETERS)[0]
        used.update({name: int(count) for name, count in _IMPORTANCE.findall(counts)})
    lines = "".join(f"{name}={count}\n" for name, count in used.most_common())
    return f"{_IMPORTANCES}{lines}{_PARAMETERS}{texts[0].partition(_PARAMETERS)[2]}"
