"""Verdicts follow from the examples alone: better ones are promoted, equal ones are not."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_world import NOW
from trial_world import LIMITS, MINUTE, cut, example, examples

from learners.prior import PRIOR
from streams.trials.comparison import Arm, Comparison, Roster, Verdict
from tidemill.errors import ArtifactError
from tidemill.tasks import BINARY, REGRESSION, Task

BOTH = Roster("r0001", (Arm("r0002"),))
BETTER = {"r0001": 0.8, "r0002": 0.1}
EQUAL = {"r0001": 0.3, "r0002": 0.3}
WORSE = {"r0001": 0.1, "r0002": 1.0}


def comparison(roster: Roster = BOTH, limits: object = LIMITS, task: Task = BINARY) -> Comparison:
    """One that begins."""
    found = Comparison(limits, task)
    found.follow(roster)
    return found


def first(found: Comparison, placed: object) -> Verdict | None:
    """The first verdict on these."""
    return found.take(list(placed))


def test_a_better_one_is_promoted() -> None:
    """With the numbers that show it, once there are blocks enough."""
    found = comparison()
    verdict = first(found, examples(range(200), BETTER))
    assert verdict is not None
    assert ("promoted", "r0002", "r0001") == (verdict.action, verdict.release, verdict.champion)
    assert "below r0001's over" in verdict.why
    assert LIMITS.min_blocks <= found.pairs["r0002"].sums.blocks < 100


def test_an_equal_one_is_not() -> None:
    """Looked at for long, in most worlds."""
    wrong = [
        first(comparison(), examples(range(150), EQUAL, seed=seed, rows=5)) for seed in range(20)
    ]
    assert sum(each is not None for each in wrong) <= 2


def test_one_with_the_same_scores_is_not() -> None:
    """There is no difference to be sure of."""
    placed = [
        (n, example({"r0001": 0.5, "r0002": 0.5}, "r0001", n + 1, n % 2, NOW + n * 10_000))
        for n in range(2_000)
    ]
    assert first(comparison(), placed) is None


def test_too_few_are_no_reason() -> None:
    """Neither blocks nor examples."""
    few = replace(LIMITS, min_rows=10_000)
    assert first(comparison(limits=few), examples(range(200), BETTER)) is None
    assert first(comparison(), examples(range(LIMITS.min_blocks), BETTER)) is None


def test_promotion_can_be_left_to_people() -> None:
    """The comparison goes on without verdicts."""
    found = comparison(limits=replace(LIMITS, promote=False))
    assert first(found, examples(range(200), BETTER)) is None
    assert "operator" in found.missing(BOTH.arms[0])


def test_a_canarys_answers_are_compared_like_others() -> None:
    """The pair is the same whoever answered."""
    found, other = comparison(), comparison()
    first(found, examples(range(100), EQUAL, canary="r0002"))
    first(other, examples(range(100), EQUAL))
    pair, same = found.pairs["r0002"], other.pairs["r0002"]
    assert pair.sums.encode() == same.sums.encode()
    assert 0 == same.counts.answered < pair.counts.answered


def test_alpha_is_shared() -> None:
    """By the challengers that stand there; who is watched has a test of its own."""
    arms = (Arm("r0002"), Arm("r0003"), Arm("r0000", watched=True))
    assert LIMITS.alpha / 2 == comparison(Roster("r0001", arms)).alpha()
    assert LIMITS.alpha == comparison().alpha()


WATCHED = Roster("r0002", (Arm("r0001", watched=True),))


def promoted() -> tuple[Comparison, int]:
    """A comparison in which r0002 has taken r0001's place, and the block of that moment."""
    found = comparison()
    assert first(found, examples(range(200), BETTER)) is not None
    found.promoted("r0002")
    found.follow(WATCHED)
    return found, found.clock_ms // MINUTE - NOW // MINUTE


def test_a_champion_that_turns_bad_is_rolled_back_within_the_window() -> None:
    """Although it has been better over all."""
    found, block = promoted()
    good = range(block, block + 30)
    assert first(found, examples(good, BETTER, champion="r0002")) is None
    bad = range(good.stop, good.stop + 20)
    verdict = first(found, examples(bad, {"r0001": 0.1, "r0002": 2.0}, champion="r0002"))
    assert verdict is not None
    assert ("rolled_back", "r0001", "r0002") == (
        verdict.action, verdict.release, verdict.champion
    )  # fmt: skip
    assert found.clock_ms - (NOW + bad.start * MINUTE) <= LIMITS.window_ms


TURNED = {"r0001": 0.1, "r0002": 3.0}


@pytest.mark.parametrize("good", range(24, 40))
def test_a_turn_is_found_wherever_it_begins(good: int) -> None:
    """However much better the champion was, and wherever in the blocks' stretches it turns."""
    found = comparison()
    assert first(found, examples(range(200), {"r0001": 3.0, "r0002": 0.1})) is not None
    found.promoted("r0002")
    found.follow(WATCHED)
    block = found.clock_ms // MINUTE - NOW // MINUTE
    turn = block + good
    well = examples(range(block, turn), {"r0001": 3.0, "r0002": 0.1}, champion="r0002")
    assert first(found, well) is None
    verdict = first(found, examples(range(turn, turn + 21), TURNED, champion="r0002"))
    assert verdict is not None and "rolled_back" == verdict.action
    assert found.clock_ms - (NOW + turn * MINUTE) <= LIMITS.window_ms


def test_the_watch_is_over_in_time() -> None:
    """The champion before is let go."""
    found, block = promoted()
    verdict = first(found, examples(range(block, block + 200), BETTER, champion="r0002"))
    assert verdict is not None
    assert ("unwatched", "r0001") == (verdict.action, verdict.release)
    over = found.pairs["r0001"].until_ms
    assert over <= found.clock_ms < over + 2 * MINUTE


def test_the_tolerance_keeps_a_champion() -> None:
    """One that is worse by less stays."""
    found, block = promoted()
    patient = comparison(WATCHED, replace(LIMITS, tolerance=5.0))
    patient._pairs, patient.clock_ms, patient._block = found._pairs, found.clock_ms, found._block
    patient.offset = found.offset
    worse = examples(range(block, block + 40), {"r0001": 0.1, "r0002": 2.0}, champion="r0002")
    assert first(patient, worse) is None


def test_a_bad_canary_answers_no_longer() -> None:
    """It is only scored from then on; a shadow that is as bad changes nothing."""
    canary = Roster("r0001", (Arm("r0002", 0.3),))
    verdict = first(comparison(canary), examples(range(100), WORSE, canary="r0002"))
    assert verdict is not None
    assert ("challenger", "r0002") == (verdict.action, verdict.release)
    assert "answers no longer: its loss is" in verdict.why
    assert first(comparison(), examples(range(100), WORSE)) is None


def test_a_canary_that_fails_answers_no_longer() -> None:
    """Above the declared share of its scores; and what fails is not promoted."""
    canary = Roster("r0001", (Arm("r0002", 0.3),))
    placed = list(examples(range(100), BETTER))
    failing = [(offset, _failed(each) if offset % 50 == 0 else each) for offset, each in placed]
    verdict = first(comparison(canary), failing)
    assert verdict is not None and "failures in" in verdict.why
    assert first(comparison(), failing) is None


def _failed(made: object) -> object:
    """The example after r0002 failed to score it."""
    arms = [msgspec.structs.replace(arm, score=math.nan) for arm in made.prediction.arms]
    return msgspec.structs.replace(
        made, prediction=msgspec.structs.replace(made.prediction, arms=arms)
    )


def test_a_canary_that_is_off_on_average_answers_no_longer() -> None:
    """Where a limit is declared."""
    limits = replace(LIMITS, calibration=0.2)
    canary = Roster("r0001", (Arm("r0002", 0.3),))
    placed = [
        (n, example({"r0001": 0.5, "r0002": 0.75}, "r0001", n + 1, n % 2, NOW + n * 5_000))
        for n in range(1_000)
    ]
    verdict = first(comparison(canary, replace(limits, tolerance=10.0)), placed)
    assert verdict is not None and "misses the mean label" in verdict.why
    assert first(comparison(canary, replace(LIMITS, tolerance=10.0)), placed) is None


def test_blocks_that_the_arm_has_hardly_scored_are_left_out() -> None:
    """At first only labels that come fast are of predictions that it has scored."""
    found = comparison()
    placed = [
        (offset, each if offset % 3 else _unscored(each))
        for offset, each in examples(range(100), BETTER)
    ]
    assert first(found, placed) is None
    pair = found.pairs["r0002"]
    assert (0, 99) == (pair.sums.blocks, pair.counts.left_out)


def _unscored(made: object) -> object:
    return msgspec.structs.replace(
        made, prediction=msgspec.structs.replace(made.prediction, arms=[])
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda each: {"kind": "correction"},
        lambda each: {"prediction": msgspec.structs.replace(each.prediction, release=PRIOR)},
        lambda each: {"prediction": msgspec.structs.replace(each.prediction, arm="default")},
    ],
)
def test_what_says_nothing_of_the_champion_is_not_compared(change: object) -> None:
    """Corrections, and what the prior or the default head answered."""
    found = comparison()
    placed = [
        (offset, msgspec.structs.replace(each, **change(each)))
        for offset, each in examples(range(50), BETTER)
    ]
    first(found, placed)
    assert 0 == found.pairs["r0002"].sums.blocks
    assert 1000 == found.offset


def test_missing_labels_count_and_weights_weigh() -> None:
    """As they do for a learner."""
    found, other = comparison(), comparison()
    placed = list(examples(range(50), EQUAL))
    first(found, [(n, msgspec.structs.replace(e, kind="missing", weight=2.0)) for n, e in placed])
    first(other, placed)
    pair, same = found.pairs["r0002"].sums, other.pairs["r0002"].sums
    assert 2 * same.total[0] == pair.total[0]
    assert pair.blocks == same.blocks


def test_examples_count_once() -> None:
    """One that was written to the topic a second time has its sequence."""
    found, other = comparison(), comparison()
    placed = list(examples(range(30), EQUAL))
    twice = [each for _, each in placed for _ in range(2)]
    first(found, list(enumerate(twice)))
    first(other, placed)
    assert found.pairs["r0002"].sums.encode() == other.pairs["r0002"].sums.encode()


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    stores=st.integers(1, 9),
    spoils=st.sampled_from([BETTER, EQUAL]),
)
def test_cuts_and_restarts_change_nothing(
    sizes: list[int], stores: int, spoils: dict[str, float]
) -> None:
    """The same verdict at the same offset, and the same bytes behind the fence."""
    placed = list(examples(range(60), spoils))
    whole = comparison()
    expected = first(whole, placed)
    found, verdict = comparison(), None
    for number, some in enumerate(cut(placed, sizes)):
        verdict = found.take(some)
        if verdict is not None:
            break
        if number % stores == 0:
            fields, _ = found.changes()
            again = Comparison(LIMITS, BINARY)
            again.restore(fields, found.offset)
            again.follow(BOTH)
            found = again
    assert (expected, whole.offset) == (verdict, found.offset)
    assert whole.changes() == found.changes()


def test_another_champion_begins_another_comparison() -> None:
    """What was known of the pair is dropped from what is kept."""
    found = comparison()
    first(found, examples(range(50), EQUAL))
    found.follow(Roster("r0003", (Arm("r0002"),)))
    fields, gone = found.changes()
    assert (["pair:r0001:r0002"], True) == (gone, found.is_stale)
    assert {"place", "pair:r0003:r0002"} == set(fields)
    assert not found.is_begun
    found.saved()
    assert not found.is_stale


def test_values_are_compared_by_squared_errors() -> None:
    """A regression's arms are promoted in the same way."""
    placed = []
    for n in range(3_000):
        label = float(n % 7)
        said = {"r0001": label + (-1) ** n * 1.0 + (n % 5) / 9, "r0002": label + 0.1}
        placed.append((n, example(said, "r0001", n + 1, label, NOW + n * 2_000)))
    verdict = first(comparison(task=REGRESSION), placed)
    assert verdict is not None and "promoted" == verdict.action


def test_several_classes_are_not_compared() -> None:
    """Their arms only learn."""
    found = comparison(task=Task("multiclass", 3))
    assert first(found, examples(range(100), BETTER)) is None
    assert "not supported" in found.missing(BOTH.arms[0])


def test_damaged_state_is_refused() -> None:
    """It is not guessed at."""
    found = comparison()
    fields, _ = found.changes()
    for bad in ({"place": b"?"}, {"pair:r0001:r0002": b"?"},
                {"pair:r0001:r0009": fields["pair:r0001:r0002"]}):  # fmt: skip
        with pytest.raises(ArtifactError, match="trial"):
            Comparison(LIMITS, BINARY).restore(bad, 0)


def test_what_the_champion_left_out_says_nothing() -> None:
    """Labels that an operator has found to be lies."""
    found = comparison()
    found.leave_out([(0, 1_000)])
    first(found, examples(range(60), EQUAL))
    assert 180 == found.pairs["r0002"].counts.rows


def test_what_was_counted_and_is_left_out_later_begins_anew() -> None:
    """Sums cannot be taken apart; of what lies ahead nothing was counted."""
    found = comparison()
    first(found, examples(range(30), EQUAL))
    found.leave_out([(found.offset, found.offset + 50)])
    assert found.is_begun
    lies = [(found.offset, found.offset + 50), (100, 200)]
    found.leave_out(lies)
    assert not found.is_begun
    first(found, examples(range(30, 40), EQUAL))
    again = comparison()
    again.restore(found.changes()[0], found.offset)
    again.leave_out(lies)
    assert again.is_begun


def test_a_watch_ends_in_time_also_when_it_begins_anew() -> None:
    """How long it lasts was decided."""
    found, _ = promoted()
    until = found.pairs["r0001"].until_ms
    found.leave_out([(0, 20)])
    assert (0, until) == (found.pairs["r0001"].sums.blocks, found.pairs["r0001"].until_ms)


def test_a_pair_that_is_about_to_be_is_kept() -> None:
    """Of a promotion that could not be entered yet."""
    found = comparison()
    assert first(found, examples(range(200), BETTER)) is not None
    found.promoted("r0002")
    found.follow(BOTH, [("r0002", "r0001")])
    assert {"pair:r0001:r0002", "pair:r0002:r0001", "place"} == set(found.changes()[0])


def test_failures_of_long_ago_are_forgotten() -> None:
    """A canary may be given its share again."""
    canary = Roster("r0001", (Arm("r0002", 0.3),))
    found = comparison(canary)
    failing = [(offset, _failed(each)) for offset, each in examples(range(5), EQUAL)]
    placed = [*failing, *examples(range(5, 5 + 3 * found.window), EQUAL)]
    places = []
    while found.take(placed) is not None:
        places.append(found.offset)
    assert 100 == min(places)
    assert max(places) < 20 * (6 + found.window)
    assert 100 == found.pairs["r0002"].counts.failed
