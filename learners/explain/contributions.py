"""What each feature added to a score, for whatever learner or release gave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.learner import Vectors
from tidemill.errors import InputError

Floats = NDArray[np.float64]
Explain = Callable[[Any, Vectors, Sequence[Floats]], Floats]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of model is explained: by `method`, from what its `parts` were told first."""

    method: str
    explain: Explain
    parts: Callable[[Any], Sequence[object]] = lambda model: ()


def contributions(learner: object, vectors: Vectors) -> Floats:
    """What each feature added to each raw score, float64 (rows, features + 1).

    Raw scores are log-odds, or values: a score is what `learner.predict_many` makes of its row's
    sum. The last column is what is said of no row in particular. Exact for trees, linear models and
    what is blended of them; a net's rows sum to its raw score within 1e-3. Works with float32
    vectors (rows, features), changes no state.

    Raises InputError for what cannot be explained: River's estimators, models of a user's own
    trainer, and several classes.
    """
    methods(learner)
    return _told(learner, vectors, {})


def methods(learner: object) -> tuple[str, ...]:
    """By which methods a learner is explained, its own first. Raises InputError as above."""
    kind = _kind(learner)
    task = getattr(learner, "task", None)
    if task is not None and task.kind == "multiclass":
        raise _refused(f"{task.classes} classes", "a probability of yes, or a number")
    names = [kind.method, *(name for part in kind.parts(learner) for name in methods(part))]
    return tuple(dict.fromkeys(names))


def _told(learner: object, vectors: Vectors, known: dict[int, Floats]) -> Floats:
    """As `contributions`; what several experts correct, the release, is explained once."""
    if id(learner) not in known:
        kind = _kind(learner)
        told = [_told(part, vectors, known) for part in kind.parts(learner)]
        known[id(learner)] = kind.explain(learner, vectors, told)
    return known[id(learner)]


def _kind(learner: object) -> _Kind:
    kind = _KINDS.get(type(learner).__name__)
    if kind is None:
        raise _refused(type(learner).__name__, "trees, linear models, nets and mixtures of them")
    return kind


def _refused(found: str, allowed: str) -> InputError:
    return InputError("not_explained", "explain", f"a model of {found}", allowed)


def _of_trees(model: Any, vectors: Vectors, told: Sequence[Floats]) -> Floats:
    from learners.explain.trees import tree_contributions

    return tree_contributions(model, model.leaf_values, vectors)


def _of_head(model: Any, vectors: Vectors, told: Sequence[Floats]) -> Floats:
    from learners.explain.trees import tree_contributions

    return tree_contributions(model.trees, model.weights, vectors)


def _of_linear(model: Any, vectors: Vectors, told: Sequence[Floats]) -> Floats:
    from learners.explain.linear import linear_contributions

    return sum(told, start=linear_contributions(model, vectors))


def _of_net(model: Any, vectors: Vectors, told: Sequence[Floats]) -> Floats:
    from learners.explain.net import net_contributions

    return sum(told, start=net_contributions(model.network, vectors))


def _of_mixture(model: Any, vectors: Vectors, told: Sequence[Floats]) -> Floats:
    from learners.explain.mixture import mixture_contributions

    return mixture_contributions(model, told)


def _of_prior(model: Any, vectors: Vectors, told: Sequence[Floats]) -> Floats:
    return np.zeros((len(vectors), vectors.shape[1] + 1))  # even odds, or the value 0


def _corrected(model: Any) -> Sequence[object]:
    """The release whose raw score a learner adds to, where it does not hold its weights."""
    return () if model.corrects is None else (model.corrects,)


_LINEAR, _NET = "linear", "integrated_gradients"
# By their names: a kind's code is imported when one of its models is explained.
_KINDS: Mapping[str, _Kind] = {
    "FrozenTrees": _Kind("tree_shap", _of_trees),
    "TreeHead": _Kind("tree_shap", _of_head),
    "FrozenLinear": _Kind(_LINEAR, _of_linear),
    "LinearLearner": _Kind(_LINEAR, _of_linear, _corrected),
    "FrozenNet": _Kind(_NET, _of_net),
    "EmbeddingNet": _Kind(_NET, _of_net, _corrected),
    "MixtureLearner": _Kind("rescale", _of_mixture, lambda model: (model.release, *model.experts)),
    "Prior": _Kind("prior", _of_prior),
}
