"""A mixture keeps the bounds that its docstring promises, whatever the experts say."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from case_linear import SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from releases import release
from river_estimators import trees
from slow_mixture import SlowMixture

from learners import families
from learners.mixture.blend import Blend
from learners.tree_walk import TreeWalk
from learners.trees import FrozenTrees
from tidemill.errors import ArtifactError, DeclarationError
from tidemill.learner_kinds import Mixture, River, TreeHead
from tidemill.tasks import BINARY, REGRESSION, Task

ROUNDING = 1e-6
KINDS = st.sampled_from(["random", "switching", "against", "flat"])


def declared(experts: int, **others: object) -> Mixture:
    """A mixture of so many experts beside the release; none of them is ever started."""
    heads = tuple(TreeHead(f"head_{number}") for number in range(experts - 1))
    return Mixture("mixture", heads, memories=(), **others)


def sequences(kind: str, rows: int, experts: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    """Advice (rows, experts) and labels (rows,): random, or made to hurt."""
    rng = np.random.default_rng(seed)
    advice = rng.beta(0.3, 0.3, (rows, experts)).clip(1e-6, 1 - 1e-6)
    labels = (rng.random(rows) < 0.5).astype(np.float64)
    if kind == "switching":  # who was right until now is wrong from now on
        right = np.arange(rows) // max(rows // 5, 1) % experts
        for row in range(rows):
            advice[row] = 0.9 if labels[row] == 0 else 0.1
            advice[row, right[row]] = 1 - advice[row, right[row]]
    if kind == "flat":
        advice[:] = rng.random(experts)
    if kind == "against":  # the label is what the mean of the experts is against
        labels = (advice.mean(axis=1) < 0.5).astype(np.float64)
    return advice, labels


def losses(advice: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-losses of probabilities (rows,) or (rows, experts)."""
    truth = labels if advice.ndim == 1 else labels[:, None]
    return -np.log(np.where(truth == 1, advice, 1 - advice))


def worst_run(excess: NDArray[np.float64], bound: NDArray[np.float64]) -> float:
    """The largest of sum(excess[r:s]) - bound[s - 1] over all runs r … s and columns."""
    worst, running = -np.inf, np.zeros(excess.shape[1])
    for row, now in enumerate(excess):
        running = np.maximum(running, 0) + now
        worst = max(worst, float(running.max() - bound[row]))
    return worst


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(1, 400), st.integers(2, 6), st.integers(0, 10**6), st.integers(1, 500))
def test_no_run_of_examples_costs_more_than_the_bound(
    kind: str, rows: int, experts: int, seed: int, calm: int
) -> None:
    """On every run r … s the log-loss exceeds any expert's by at most ln N + ln(calm + s)."""
    advice, labels = sequences(kind, rows, experts, seed)
    blend = Blend.start(BINARY, declared(experts, calm=calm), np.ones(experts, bool))
    scores = blend.learn(advice, labels, np.ones(rows))
    excess = losses(scores, labels)[:, None] - losses(advice, labels)
    bound = np.log(experts) + np.log(calm + 1 + np.arange(rows))
    assert worst_run(excess, bound) <= ROUNDING
    assert blend.rate == 1.0


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(1, 400), st.integers(2, 6), st.integers(0, 10**6))
def test_from_the_start_a_fixed_expert_costs_its_logarithm(
    kind: str, rows: int, experts: int, seed: int
) -> None:
    """Hardly sharing, the whole stream's loss exceeds the best expert's by at most ln N."""
    advice, labels = sequences(kind, rows, experts, seed)
    blend = Blend.start(BINARY, declared(experts, share=1e-9), np.ones(experts, bool))
    scores = blend.learn(advice, labels, np.ones(rows))
    best = losses(advice, labels).sum(axis=0).min()
    assert losses(scores, labels).sum() <= best + np.log(experts) + ROUNDING


@settings(max_examples=40, deadline=None)
@given(KINDS, st.integers(1, 300), st.integers(2, 5), st.integers(0, 10**6))
def test_a_declared_share_tracks_the_best_expert(
    kind: str, rows: int, experts: int, seed: int
) -> None:
    """With share α, a run r … s costs at most ln(N / α) + (s - r) ln(1 / (1 - α)) more."""
    share = 0.05
    advice, labels = sequences(kind, rows, experts, seed)
    blend = Blend.start(BINARY, declared(experts, share=share), np.ones(experts, bool))
    scores = blend.learn(advice, labels, np.ones(rows))
    excess = losses(scores, labels)[:, None] - losses(advice, labels) + np.log(1 - share)
    bound = np.full(rows, np.log(experts / share) - np.log(1 - share))
    assert worst_run(excess, bound) <= ROUNDING


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(1, 300), st.integers(2, 5), st.integers(0, 10**6), st.floats(0.1, 50))
def test_heavy_examples_slow_the_rate_and_keep_the_bound(
    kind: str, rows: int, experts: int, seed: int, heaviest: float
) -> None:
    """With any weights a run's weighted loss exceeds an expert's by the rate's bound and Δ."""
    advice, labels = sequences(kind, rows, experts, seed)
    weights = np.random.default_rng(seed).random(rows) * heaviest
    blend = Blend.start(BINARY, declared(experts, calm=10), np.ones(experts, bool))
    bound, excess = np.empty(rows), np.empty((rows, experts))
    for row in range(rows):
        part = slice(row, row + 1)
        score = blend.learn(advice[part], labels[part], weights[part])
        lost = losses(score, labels[part])[:, None] - losses(advice[part], labels[part])
        excess[row] = weights[row] * lost[0]
        bound[row] = (2 * np.log(experts) + np.log(11 + row)) / blend.rate + blend.gap
    assert worst_run(excess, bound) <= ROUNDING * heaviest
    assert blend.rate <= 1


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(33, 300), st.integers(2, 5), st.integers(0, 10**6), st.floats(1e-3, 1e6))
def test_values_keep_the_bound_at_any_scale(
    kind: str, rows: int, experts: int, seed: int, scale: float
) -> None:
    """From the 33rd example a regression's squared loss exceeds an expert's by the bound."""
    advice, labels = (scale * found for found in sequences(kind, rows, experts, seed))
    blend = Blend.start(REGRESSION, declared(experts, calm=10), np.ones(experts, bool))
    bound, excess = np.zeros(rows), np.zeros((rows, experts))
    for row in range(rows):
        part = slice(row, row + 1)
        value = blend.learn(advice[part], labels[part], np.ones(1))
        if row >= 32:
            lost = (value - labels[part])[:, None] ** 2 - (advice[part] - labels[part]) ** 2
            excess[row] = lost[0]
            bound[row] = (2 * np.log(experts) + np.log(11 + row)) / blend.rate + blend.gap
    assert worst_run(excess, bound) <= ROUNDING * scale**2


def test_the_stackers_find_what_no_expert_knows() -> None:
    """Two experts that each see half of the log-odds are added up; neither alone comes near."""
    rng = np.random.default_rng(3)
    odds = rng.normal(0, 1.5, (8000, 2))
    labels = (rng.random(8000) < 1 / (1 + np.exp(-odds.sum(axis=1)))).astype(np.float64)
    advice = np.c_[np.full(8000, 0.5), 1 / (1 + np.exp(-odds))]
    mixture = Mixture("mixture", (TreeHead("a"), TreeHead("b")))
    blend = Blend.start(BINARY, mixture, np.array([True, True, True]))
    scores = blend.learn(advice, labels, np.ones(8000))
    known = losses(1 / (1 + np.exp(-odds.sum(axis=1))), labels)[4000:].mean()
    assert losses(scores, labels)[4000:].mean() < known + 0.01
    assert losses(advice, labels)[4000:].mean(axis=0).min() > known + 0.05


def test_a_mixture_is_as_good_as_its_best_expert() -> None:
    """With an expert that knows all, and one that lies, it soon listens to the first."""
    rng = np.random.default_rng(4)
    labels = (rng.random(2000) < 0.5).astype(np.float64)
    truth = np.where(labels == 1, 0.95, 0.05)
    advice = np.c_[np.full(2000, 0.5), truth, 1 - truth]
    blend = Blend.start(BINARY, declared(3, calm=100), np.array([True, False, False]))
    scores = blend.learn(advice, labels, np.ones(2000))
    assert scores[0] == 0.5
    assert losses(scores, labels)[500:].mean() < losses(truth, labels).mean() + 0.01
    assert blend.shares[1] > 0.99


def test_several_classes_blend_to_probabilities() -> None:
    """Three classes, three experts: rows sum to 1 and the one that knows wins."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 1000).astype(np.float64)
    advice = rng.dirichlet([1, 1, 1], (1000, 3))
    advice[:, 1] = 0.1 + 0.7 * np.eye(3)[labels.astype(int)]
    blend = Blend.start(Task("multiclass", 3), declared(3, calm=50), np.ones(3, bool))
    scores = blend.learn(advice, labels, np.ones(1000))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-12)
    assert blend.shares[1] > 0.9


def test_weights_name_the_release_experts_and_stackers() -> None:
    """The weights are a console's: names and shares that sum to 1; who is asleep has none."""
    made = release()
    mixture = Mixture("m", (TreeHead(), River("tree", trees)), memories=(10, 100))
    learner = families.warm_start(mixture, FrozenTrees.parse(made.text), SCHEMA)
    weights = learner.weights()
    assert ["release", "head", "tree", "stacker 10", "stacker 100"] == list(weights)
    assert weights["tree"] == 0
    learner.learn_many(made.vectors, made.labels)
    assert learner.weights()["tree"] > 0
    assert abs(sum(learner.weights().values()) - 1) < 1e-9


def test_the_trees_are_walked_once_for_all_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two heads and the release's own prediction share one walk of the trees a call."""
    made, walks = release(), []
    walk = TreeWalk.leaves
    monkeypatch.setattr(TreeWalk, "leaves", lambda *given: walks.append(1) or walk(*given))
    mixture = Mixture("m", (TreeHead("a"), TreeHead("b", learning_rate=0.01)))
    learner = families.warm_start(mixture, FrozenTrees.parse(made.text), SCHEMA)
    learner.learn_many(made.vectors, made.labels)
    learner.predict_many(made.vectors)
    assert len(walks) == 2


def test_a_state_of_other_experts_or_another_release_is_refused() -> None:
    """A state says which release and which experts it belongs to."""
    trees_of = FrozenTrees.parse(release().text)
    mixture = Mixture("m", (TreeHead("a"), TreeHead("b")))
    state = families.warm_start(mixture, trees_of, SCHEMA).snapshot()
    with pytest.raises(ArtifactError, match=r"found experts \['a', 'b'\]; allowed: \['a'\]"):
        families.restore(Mixture("m", (TreeHead("a"),)), trees_of, SCHEMA, state)
    other = FrozenTrees.parse(release(rounds=3, leaves=2).text)
    with pytest.raises(ArtifactError, match="found release"):
        families.restore(mixture, other, SCHEMA, state)
    longer = Mixture("m", mixture.experts, recent=(3.0,))
    with pytest.raises(ArtifactError, match="blend state"):
        families.restore(longer, trees_of, SCHEMA, state)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("number", [np.nan, np.inf, -1.0])
def test_a_blend_of_impossible_numbers_is_refused(place: int, number: float) -> None:
    """NaN, infinity, and weights below zero are an ArtifactError."""
    mixture = Mixture("m", (TreeHead("a"),), recent=(3.0,))
    blend = Blend.start(BINARY, mixture, np.array([True, True]))
    parts = msgspec.msgpack.decode(blend.snapshot())
    if number < 0 and place in (1, 3):  # a coefficient or an average may be
        return
    parts[place] = np.float64(number).tobytes() + parts[place][8:]
    with pytest.raises(ArtifactError, match="blend state"):
        blend.restore(msgspec.msgpack.encode(parts))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"experts": ()}, "Mixture m.experts: found .* a tuple of 1 to"),
        ({"experts": [TreeHead()]}, "Mixture m.experts: found .* a tuple of 1 to"),
        ({"experts": (TreeHead(), TreeHead())}, "found 'head'; allowed: each name once"),
        ({"experts": ("head",)}, "learners such as"),
        ({"experts": (Mixture("x", (TreeHead(),)),)}, "found 'x'; allowed: learners, not mixtures"),
        ({"share": 0.7}, "Mixture m.share: found 0.7"),
        ({"calm": 0}, "Mixture m.calm: found 0"),
        ({"recent": 3}, "Mixture m.recent: found 3"),
        ({"memories": (1,)}, "Mixture m.memories: found 1"),
    ],
)
def test_a_mistake_in_a_mixture_is_named(wrong: dict[str, object], message: str) -> None:
    """A declaration names the setting, what was found and what is allowed."""
    with pytest.raises(DeclarationError, match=message):
        Mixture(**({"name": "m", "experts": (TreeHead(),)} | wrong))


def test_half_a_weight_is_half_a_loss() -> None:
    """At rate 1 an example of weight w multiplies each weight by its probability to the w."""
    blend = Blend.start(BINARY, declared(2, share=1e-9), np.ones(2, bool))
    blend.learn(np.array([[0.64, 0.25]]), np.ones(1), np.array([0.5]))
    np.testing.assert_allclose(blend.shares, [0.8 / 1.3, 0.5 / 1.3], atol=1e-8)


def test_heavy_examples_are_learned_like_the_slow_twin_s() -> None:
    """With weights up to 50 the rate falls, and weights and stackers are a plain reference's."""
    rng = np.random.default_rng(6)
    advice, labels = sequences("switching", 300, 3, seed=6)
    weights = 50 * rng.random(300)
    mixture = Mixture("m", (TreeHead("a"), TreeHead("b")), memories=(20,))
    blend = Blend.start(BINARY, mixture, np.ones(3, bool))
    slow = SlowMixture(BINARY, mixture, [True, True, True])
    scores = blend.learn(advice, labels, weights)
    rows = zip(advice, labels, weights, strict=True)
    np.testing.assert_allclose(scores, [slow.learn(*row) for row in rows], atol=1e-9)
    np.testing.assert_allclose(blend.shares, slow.shares, atol=1e-9)
    assert blend.rate < 0.5
