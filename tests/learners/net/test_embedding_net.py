"""What is the net's own: blocks, changes, ids that come and go, releases of other shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from case_net import CLASSES, SCHEMA, SETTINGS, Plain, trained
from numpy.typing import NDArray
from releases import synthetic

from learners.net.embedding_net import EmbeddingNet
from learners.net.frozen_net import FrozenNet, net_bytes
from learners.net.state import NetState
from tidemill.errors import ArtifactError
from tidemill.learner_kinds import EmbeddingNet as Settings
from tidemill.tasks import BINARY, REGRESSION

BUSY = replace(SETTINGS, admit_after=2, expires_after=200, max_rows=60)
PLAIN = Plain(BINARY)


def stream(rows: int, seed: int = 9) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Examples whose ids wander, so that old ones go and new ones come."""
    vectors, labels = synthetic(rows, seed)
    vectors[:, 0] += np.arange(rows) // 20
    return vectors, labels


def start(settings: Settings = BUSY) -> EmbeddingNet:
    """A net on a release that knows next to nothing."""
    return EmbeddingNet.warm_start(PLAIN, settings, SCHEMA)


def test_any_cut_gives_the_same_bytes() -> None:
    """Random cuts, weights of 0, restores and clones in between change neither state nor scores."""
    (vectors, labels), random = stream(1500), np.random.default_rng(2)
    weights = random.choice([0.0, 0.5, 1.0, 2.0], len(labels))
    whole, pieces = start(), start()
    scores, parts = whole.learn_many(vectors, labels, weights), []
    at = 0
    while at < len(labels):
        rows = slice(at, at + int(random.integers(0, 60)))
        parts.append(pieces.learn_many(vectors[rows], labels[rows], weights[rows]))
        pieces.predict_many(vectors[:3])
        if random.random() < 0.3:
            pieces = EmbeddingNet.restore(PLAIN, BUSY, SCHEMA, pieces.snapshot())
        pieces = pieces.clone()
        at = rows.stop
    np.testing.assert_array_equal(scores, np.concatenate(parts))
    assert whole.snapshot() == pieces.snapshot()
    assert 0 < len(whole.network.table) <= 60


def test_a_block_is_learned_when_it_is_whole() -> None:
    """Until then predictions stay and the examples wait in the state; weights of 0 never count."""
    learner, (vectors, labels) = start(), stream(40)
    before = learner.predict_many(vectors)
    learner.learn_many(vectors[:15], labels[:15])
    learner.learn_many(vectors[15:30], labels[15:30], np.zeros(15))
    np.testing.assert_array_equal(before, learner.predict_many(vectors))
    assert (15, 0) == (learner.given, learner.learned)
    learner.learn_many(vectors[:1], labels[:1])
    assert (16, 16) == (learner.given, learner.learned)
    assert (before != learner.predict_many(vectors)).any()


def test_weight_0_leaves_the_state_as_it_was() -> None:
    """Not a byte changes."""
    learner, (vectors, labels) = start(), stream(100)
    before = learner.snapshot()
    learner.learn_many(vectors, labels, np.zeros(100))
    assert before == learner.snapshot()


def test_other_blocks_may_go_on_from_a_state() -> None:
    """A state with more waiting than a block is learned with the next example."""
    learner, (vectors, labels) = start(), stream(30)
    learner.learn_many(vectors[:15], labels[:15])
    shorter = replace(BUSY, block=4)
    restored = EmbeddingNet.restore(PLAIN, shorter, SCHEMA, learner.snapshot())
    restored.learn_many(vectors[15:17], labels[15:17])
    assert (17, 16) == (restored.given, restored.learned)
    restored.learn_many(vectors[17:], labels[17:])
    assert 28 == restored.learned


@pytest.mark.parametrize("every", [1, 16, 37, 300])
def test_changes_bring_a_copy_up(every: int) -> None:
    """However often they are asked for, while ids come, go and wait: the same bytes."""
    learner, (vectors, labels) = start(), stream(1200)
    learner.learn_many(vectors[:500], labels[:500])
    learner.changes()
    copy = EmbeddingNet.restore(PLAIN, BUSY, SCHEMA, learner.snapshot())
    for at in range(500, 1200, every):
        learner.learn_many(vectors[at : at + every], labels[at : at + every])
        copy.apply(learner.changes())
        assert learner.given == copy.given
    assert learner.snapshot() == copy.snapshot()
    for net in (learner, copy):
        net.learn_many(vectors, labels)
    assert learner.snapshot() == copy.snapshot()


def test_changes_of_a_big_table_are_small() -> None:
    """A few examples on hundreds of ids publish the touched rows, not the table."""
    settings = replace(SETTINGS, admit_after=1, embedding=32)
    learner, (vectors, labels) = start(settings), stream(16 * 300)
    vectors[:, 0] = np.arange(len(vectors)) % 4000
    learner.learn_many(vectors, labels)
    learner.changes()
    learner.learn_many(vectors[:16], labels[:16])
    assert 20 * len(learner.changes()) < len(learner.snapshot())


def test_changes_of_another_time_are_refused() -> None:
    """Applied twice, or to a state that learned on, they are an ArtifactError."""
    learner, (vectors, labels) = start(), stream(100)
    copy = learner.clone()
    learner.learn_many(vectors, labels)
    changes = learner.changes()
    copy.apply(changes)
    for net in (copy, learner):
        with pytest.raises(ArtifactError, match="found those since example 0; allowed: 100"):
            net.apply(changes)
    with pytest.raises(ArtifactError, match="allowed: a snapshot"):
        EmbeddingNet.restore(PLAIN, BUSY, SCHEMA, changes)


def test_an_id_seen_too_seldom_shares_its_columns_row() -> None:
    """Two ids without rows are predicted alike, two admitted ones apart."""
    learner, (vectors, labels) = start(replace(SETTINGS, admit_after=2)), stream(320)
    learner.learn_many(vectors, labels)
    row = np.repeat(vectors[:1], 4, axis=0)
    row[:, 0] = [90_001, 90_002, vectors[100, 0], vectors[200, 0]]
    scores = learner.predict_many(row)
    assert scores[0] == scores[1]
    assert len({*scores.tolist()}) == 3


def test_minus_zero_and_missing_are_one_id_each() -> None:
    """-0.0 is 0, and every NaN is the same missing id."""
    learner, (vectors, labels) = start(replace(SETTINGS, admit_after=1)), stream(64)
    vectors[:, 0] = np.array([0.0, -0.0, np.nan, -np.nan] * 16)
    learner.learn_many(vectors, labels)
    assert 2 == len(learner.network.table)


def test_a_net_of_another_shape_is_an_offset() -> None:
    """Settings of other layers start from a net's predictions, not its weights."""
    frozen, (vectors, labels) = trained(), stream(64)
    other = replace(SETTINGS, hidden=(6,))
    learner = EmbeddingNet.warm_start(frozen, other, SCHEMA)
    np.testing.assert_array_equal(frozen.predict_many(vectors), learner.predict_many(vectors))
    learner.learn_many(vectors, labels)
    np.testing.assert_array_equal(frozen.predict_many(vectors), learner.predict_both(vectors)[1])


def test_what_was_learned_can_be_a_release() -> None:
    """A net's own weights, frozen, predict what it predicted."""
    learner, (vectors, labels) = EmbeddingNet.warm_start(trained(), SETTINGS, SCHEMA), stream(64)
    learner.learn_many(vectors, labels)
    frozen = FrozenNet.parse(net_bytes(learner.network))
    np.testing.assert_array_equal(frozen.predict_many(vectors), learner.predict_many(vectors))


def test_update_norm_is_that_of_all_weights() -> None:
    """Layers, embeddings of the release and of new ids count, each from where it began."""
    learner, (vectors, labels) = EmbeddingNet.warm_start(trained(), SETTINGS, SCHEMA), stream(320)
    first, table = trained().network, learner.network.table
    learner.learn_many(vectors, labels)
    squares = ((learner.network.dense - first.dense).astype(float) ** 2).sum()
    rows = table.all_rows()
    for number, key in zip(rows.numbers.tolist(), rows.keys.tolist(), strict=True):
        known = number < first.table.used
        begin = first.table.rows[number, :4] if known else table.first_values(np.array([key]))[0]
        squares += ((table.rows[number, :4] - begin).astype(float) ** 2).sum()
    assert np.sqrt(squares) == pytest.approx(learner.update_norm(), rel=1e-6)
    assert len(table) > len(first.table)


def test_huge_weights_and_labels_stay_finite() -> None:
    """A weight of 1e30 and labels of 1e30 move a net by its learning rate, not to infinity."""
    for task in (BINARY, REGRESSION, CLASSES):
        learner, (vectors, labels) = EmbeddingNet.warm_start(Plain(task), BUSY, SCHEMA), stream(320)
        values = labels * (1e30 if task == REGRESSION else 1)
        learner.learn_many(vectors, values, np.full(320, 1e30))
        assert np.isfinite(learner.predict_many(vectors)).all()
        EmbeddingNet.restore(Plain(task), BUSY, SCHEMA, learner.snapshot())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("release", "another"),
        ("shape", "another"),
        ("format", "net 0"),
        ("given", 3),
        ("dense", b""),
        ("dense", b"123"),
        ("sums", None),
        ("row_numbers", None),
        ("row_keys", None),
        ("row_values", None),
        ("candidates", b"12345678"),
        ("labels", b"12345678"),
        ("weights", None),
        ("scale", float("nan")),
    ],
)
def test_refuses_a_state_with_a_damaged_field(field: str, value: Any) -> None:
    """Each is an ArtifactError; None stands for as many bytes of 0xff, which no array may have."""
    learner, (vectors, labels) = start(), stream(200)
    learner.learn_many(vectors, labels)
    state = msgspec.msgpack.decode(learner.snapshot(), type=NetState)
    value = b"\xff" * len(getattr(state, field)) if value is None else value
    damaged = msgspec.structs.replace(state, **{field: value})
    with pytest.raises(ArtifactError, match="net state"):
        EmbeddingNet.restore(PLAIN, BUSY, SCHEMA, damaged.encode())
