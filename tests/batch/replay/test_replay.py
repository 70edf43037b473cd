"""Past predictions are rebuilt bit for bit; what cannot be, or differs, is named with its cause."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from archived import NEW, OLD, Oracle, project
from past_world import PLAN, Past

from batch.replay.replay import Sources, replay
from batch.replay.report import (
    NOT_ARCHIVED,
    OTHER_SCHEMA,
    RELEASE_DELETED,
    UNKNOWN_OFFSET,
    Report,
)
from features.plan import compile_plan
from learners.families import warm_start
from learners.prior import PRIOR
from streams.learning import Learning, Place
from tidemill import TreeHead
from tidemill.wire import vector_bytes


def all_of(past: Past, **more: object) -> Report:
    """Every prediction replayed."""
    return replay(past.sources(**more), [each.id for each in past.predictions])


def wrong(report: Report) -> list[str]:
    """The predictions that are not exact."""
    return [each.id for each in report.predictions if not each.exact]


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """The prior, then a release that learns."""
    made = Past(tmp_path)
    made.live(20)
    made.release()
    made.learn_on("r0001")
    made.live(120)
    return made


def test_every_prediction_is_rebuilt(past: Past) -> None:
    """Those of the prior, of two releases in turn and of a rollback, whatever was sent twice."""
    past.append(past.examples[-1])
    past.append(past.examples[3])
    past.learn_on(past.release(2, len(past.examples) - 20))
    past.live(120)
    past.learn_on("r0001")
    past.live(60)
    found = all_of(past)
    assert [] == wrong(found)
    assert found.exact
    assert {PRIOR, "r0001", "r0002"} == {each.release for each in found.predictions}
    assert 20 < len({each.weights.offset for each in found.predictions if each.weights})


def test_it_says_what_was_rebuilt(past: Past) -> None:
    """Features, weights and both scores of one prediction, and the score of now."""
    made = next(each for each in past.predictions if each.offset > 10)
    (found,) = replay(past.sources(newest=past.newest()), [made.id]).predictions
    names = PLAN.schema.names
    assert (True, len(names), [], []) == (
        found.features.equal, found.features.compared, found.features.differences,
        found.features.left_out,
    )  # fmt: skip
    assert found.weights is not None and found.score is not None and found.now is not None
    assert (made.release, made.snapshot, made.offset, 0, made.offset) == (
        found.weights.release, found.weights.snapshot, found.weights.offset,
        found.weights.trained_to, found.weights.examples,
    )  # fmt: skip
    assert (made.score, made.score, True, made.score) == (
        found.score.logged, found.score.replayed, found.score.equal, found.from_rebuilt,
    )  # fmt: skip
    learning = past.learning
    assert learning is not None
    vector = np.frombuffer(made.vector, "<f4")[None].copy()
    now = float(learning.learner.predict_many(vector)[0])
    assert now != made.score
    assert (now, now, learning.offset) == (found.now.score, found.now.settled, found.now.offset)


def test_examples_of_other_features_are_only_seen(past: Past) -> None:
    """They are not learned, and their sequence counts all the same."""
    past.score()
    other = msgspec.structs.replace(past.predictions[-1], schema="else", vector=b"\0" * 8)
    past.label(prediction=other)
    past.append(past.examples[-1])
    past.publish()
    past.score()
    (found,) = replay(past.sources(), [past.predictions[-1].id]).predictions
    assert found.exact and found.weights is not None
    assert len(past.examples) - 2 == found.weights.examples


@pytest.mark.parametrize("behind", [0, 3, 8])
def test_what_was_left_out_is_left_out(past: Past, behind: int) -> None:
    """Who scored before a window was taken back had learned it; who scored later had not.

    Also where the order to go on came before the whole window had been put aside.
    """
    past.publish()
    learning = past.learning
    assert learning is not None
    place, good, start = learning.place.copy(), learning.learner.clone(), learning.offset
    for _ in range(8):
        past.score()
        past.label()
        past.publish()
        past.score()
    learning.learner, learning.place = good, place
    until = start + 8 - behind
    learning.skip(until, {e.partition: e.sequence for e in past.examples[start:until]})
    learning.learn(list(enumerate(past.examples)), PLAN.schema.hash)
    past.publish()
    past.live(60)
    found = all_of(past)
    assert [] == wrong(found)
    last = found.predictions[-1].weights
    assert last is not None
    assert [(start, until)] == last.skipped


def test_a_release_that_answered_itself(past: Past) -> None:
    """Before the first snapshot, and for a learner that had failed."""
    fresh = Past(past.home / "fresh")
    fresh.release()
    fresh.learn_on("r0001")
    head = fresh.served.head
    fresh.served = replace(fresh.served, snapshot=0, offset=0)
    fresh.score()
    fresh.live(60)
    fresh.served = replace(fresh.served, snapshot=0, offset=0)
    vector = np.frombuffer(fresh.score().vector, "<f4")[None].copy()
    baseline = float(head.predict_both(vector)[1][0])
    last = msgspec.structs.replace(fresh.predictions[-1], score=baseline)
    fresh.predictions[-1] = last
    assert [] == wrong(replay(fresh.sources(), [fresh.predictions[0].id, last.id]))


def test_a_canary_is_rebuilt_beside_the_champion(past: Past) -> None:
    """Its score is its own learner's, the baseline the champion's release's."""
    canary = Past(past.home)
    canary.archived, canary.now = past.archived, past.now
    canary.learn_on(past.release(2, 4))
    vector = np.frombuffer(past.score().vector, "<f4")[None].copy()
    made, served = past.predictions.pop(), canary.served
    score = float(served.head.predict_both(vector)[0][0])
    past.predictions.append(
        msgspec.structs.replace(
            made, score=score, release="r0002", snapshot=served.snapshot, offset=served.offset,
            arm="canary", arms=past.others("r0001"),
        )
    )  # fmt: skip
    (found,) = replay(past.sources(), [made.id]).predictions
    assert found.exact and found.baseline is not None
    assert ("canary", "r0002", "r0001") == (found.arm, found.release, found.baseline.release)


@pytest.mark.parametrize("release", ["r0001", PRIOR])
def test_the_default_head_is_rebuilt(past: Past, release: str) -> None:
    """The release or the prior answered in the champion's place, as if nothing were known."""
    made = past.score()
    body = msgspec.json.decode(made.request)
    vector = Oracle(OLD).vector(body.pop("time"), **body)
    baseline = float(past.served.head.predict_both(vector[None])[1][0])
    past.predictions[-1] = msgspec.structs.replace(
        made, vector=vector_bytes(vector), release=release, snapshot=0, offset=0, arm="default",
        score=0.5 if release == PRIOR else baseline, baseline=baseline,
        arms=past.others("r0001"),
    )  # fmt: skip
    (found,) = replay(past.sources(), [made.id]).predictions
    assert found.score is not None and found.baseline is not None
    assert (True, True) == (found.score.equal, found.baseline.equal)
    causes = {each.name: each.cause for each in found.features.differences}
    assert {"stale"} == set(causes.values())
    assert {"paid_count_card_24h", "share"} <= set(causes)


def test_a_late_event_is_named(past: Past) -> None:
    """It was known to the broker, not yet to the store; what reads its feature differs with it."""
    made = past.score()
    body = msgspec.json.decode(made.request)
    del body["time"]
    past.archived.event(made.scored_ms - 5, **body)
    (found,) = replay(past.sources(), [made.id]).predictions
    causes = {each.name: each.cause for each in found.features.differences}
    assert "late" == causes["paid_count_card_1h"] == causes["share"]
    assert "amount" not in causes
    assert found.score is not None and found.score.equal
    assert not found.exact


def test_a_feature_of_other_code_is_named(past: Past) -> None:
    """And one step of float32 is rounding."""
    made = past.score()
    vector = np.frombuffer(made.vector, "<f4").copy()
    names = PLAN.schema.names
    at = names.index("amount")
    vector[at] = np.nextafter(vector[at], np.float32(np.inf))
    past.predictions[-1] = msgspec.structs.replace(made, vector=vector_bytes(vector))
    past.score()
    vector = np.frombuffer(past.predictions[-1].vector, "<f4").copy()
    vector[at] += 1
    past.predictions[-1] = msgspec.structs.replace(
        past.predictions[-1], vector=vector_bytes(vector)
    )
    found = replay(past.sources(), [each.id for each in past.predictions[-2:]]).predictions
    assert [("amount", "rounding"), ("amount", "code_version")] == [
        (one.name, one.cause) for each in found for one in each.features.differences
    ]


def test_without_a_request_the_weights_are_rebuilt_all_the_same(past: Past) -> None:
    """Earlier versions did not log it."""
    past.score(request=b"")
    (found,) = replay(past.sources(newest=past.newest()), [past.predictions[-1].id]).predictions
    assert found.features.problem is not None and found.score is not None
    assert ("no_request", True, False) == (
        found.features.problem.cause, found.score.equal, found.exact,
    )  # fmt: skip
    assert found.from_rebuilt is None and found.now is not None and found.now.settled is None


def causes(report: Report) -> list[str]:
    """Why each prediction cannot be replayed."""
    return [each.problem.cause if each.problem else "" for each in report.predictions]


def test_a_release_that_was_deleted_is_named(past: Past) -> None:
    """Its weights are gone; the features are rebuilt."""
    made = past.score()
    shutil.rmtree(past.registry.folder / "r0001")
    found = replay(past.sources(), [made.id])
    assert [RELEASE_DELETED] == causes(found)
    assert found.predictions[0].features.equal


def test_another_declaration_cannot_replay(past: Past) -> None:
    """It says which schema was scored for, and which one is declared."""
    made, sources = past.score(), past.sources()
    plan = compile_plan(project(NEW))
    (found,) = replay(replace(sources, plan=plan), [made.id]).predictions
    assert found.problem is not None
    assert OTHER_SCHEMA == found.problem.cause
    assert PLAN.schema.hash in found.problem.message and plan.schema.hash in found.problem.message


def test_another_learner_differs(past: Past) -> None:
    """The same features, but a learner that is declared otherwise: it says both scores."""
    past.live(40)
    sources, made = past.sources(), past.predictions[-1]
    plan = compile_plan(replace(PLAN.project, learner=TreeHead(learning_rate=0.2)))
    (found,) = replay(replace(sources, plan=plan), [made.id]).predictions
    assert found.score is not None and found.problem is None
    assert (False, False, made.score) == (found.exact, found.score.equal, found.score.logged)


def test_an_offset_that_was_not_logged_is_named(past: Past) -> None:
    """By an api from before offsets; 0 is one only of a learner that has learned nothing."""
    made = past.score(offset=0)
    assert [UNKNOWN_OFFSET] == causes(replay(past.sources(), [made.id]))


def test_what_is_not_archived_yet_is_named(past: Past) -> None:
    """A learner is ahead of the archive for some seconds."""
    made = past.score(offset=len(past.examples) + 5)
    assert [NOT_ARCHIVED] == causes(replay(past.sources(), [made.id]))


def test_an_id_that_is_nowhere_is_named(past: Past) -> None:
    """The others are replayed, each once and in the order asked for."""
    found = replay(past.sources(), ["p9", "p70000", "p4", "p9"])
    assert (["p9", "p4"], ["p70000"]) == ([each.id for each in found.predictions], found.unknown)
    assert not found.exact


def test_nothing_known_is_replayed_without_an_archive(tmp_path: Path) -> None:
    """All ids are unknown."""
    past = Past(tmp_path)
    sources = Sources(past.registry, PLAN)
    assert Report([], ["p1"]) == replay(sources, ["p1"])


def test_a_challenger_that_begins_anew_is_rebuilt(past: Past) -> None:
    """It knows what was left out before it is past it, and may answer from there."""
    learning = past.learning
    assert learning is not None
    start, offset = learning.offset - 12, learning.offset - 6
    learning.place.skipped.append((start, start + 9))
    learner = warm_start(PLAN.project.learner, past.frozen("r0001"), PLAN.schema)
    anew = Learning("r0001", learner, Place(0, {}, skipped=[*learning.place.skipped]))
    anew.learn(list(enumerate(past.examples))[:offset], PLAN.schema.hash)
    past.served = replace(past.served, snapshot=99, offset=offset, head=anew.learner)
    past.score()
    (found,) = replay(past.sources(), [past.predictions[-1].id]).predictions
    assert found.exact and found.weights is not None
    assert [(start, start + 9)] == found.weights.skipped
    assert start == found.weights.examples
