"""The last part of a search lowers the best trees' rate, then averages copies of them."""

from __future__ import annotations

from typing import Any

from batch.search.refine import early_copies, refinement
from batch.search.trials import Trial, key_of, preferred


def trial(number: int, loss: float, leaves: int = 7, **changes: Any) -> Trial:
    """A trial of trees that was seen through."""
    fixed = changes.pop("fixed", {})
    settings = {"feature_share": 0.5, "row_share": 1.0, "learning_rate": 0.1, "copies": 1} | fixed
    made = {
        "state": "complete", "origin": "sampled", "family": "lightgbm",
        "parameters": {"lightgbm.leaves": leaves}, "settings": settings, "losses": [loss],
        "steps": 50, "seconds": 10.0, "model_bytes": 1, "row_us": 1.0, "training_seconds": 1.0,
        "excess": {}, "reason": "", "distributions": {}, "ended_ms": number,
        "blocks": [], "known": False,
    } | changes  # fmt: skip
    return Trial(number=number, loss=loss, fixed=fixed, **made)


def tried(*trials: Trial) -> set[str]:
    """Their settings."""
    return {key_of(each.parameters, each.fixed) for each in trials}


def refined(*trials: Trial, seconds_left: float = 100.0) -> dict[str, Any]:
    """What is tried next beside the best one's parameters; nothing for none."""
    found = refinement(trials, tried(*trials), seconds_left)
    return {} if found is None else found[2]


COPIES = {"learning_rate": 0.1, "rounds": 50, "copies": 4}
HALF = {"learning_rate": 0.05, "rounds": 100, "copies": 4}


def test_the_best_is_averaged_with_copies() -> None:
    """As many as there is time for, with the rounds that it needed alone."""
    two = trial(0, 0.5, leaves=9), trial(1, 0.4)
    assert COPIES == refined(*two)
    assert {**COPIES, "copies": 2} == refined(*two, seconds_left=25.0)
    assert {} == refined(*two, seconds_left=19.0)


def test_copies_are_made_early_where_they_cost_little() -> None:
    """Of the best that the study began with, in a tenth of the time that is left at most."""
    two = trial(0, 0.5, leaves=9, known=True), trial(1, 0.4, known=True)
    found = early_copies(two, tried(*two), 400.0)
    assert found is not None and (two[1].parameters, COPIES) == (found[0], found[2])
    assert early_copies(two, tried(*two), 399.0) is None
    assert early_copies(two, tried(*two), 400.0, with_training=True) is None
    more = [*two, trial(2, 0.3, leaves=11), trial(3, 0.35, fixed=COPIES)]
    assert early_copies(more, {*tried(*more), *tried(trial(0, 0, 9, fixed=COPIES))}, 4e3) is None
    assert early_copies([], set(), 400.0) is None


def test_copies_are_made_early_of_what_leaves_most_to_chance() -> None:
    """Once each, whatever is found later."""
    drawn = {"feature_share": 0.25, "row_share": 0.75, "learning_rate": 0.1, "copies": 1}
    starts = [
        trial(0, 0.4, known=True),
        trial(1, 0.6, leaves=63, known=True, settings=drawn),
        trial(2, 0.5, leaves=9, known=True),
    ]
    starts.append(trial(3, 0.3, fixed=COPIES, known=True))
    found = early_copies(starts, tried(*starts), 400.0)
    assert found is not None and starts[1].parameters == found[0]
    copied = trial(4, 0.2, leaves=63, fixed=COPIES, settings={**drawn, **COPIES}, known=True)
    later = [*starts, copied, trial(5, 0.1, leaves=5)]
    assert early_copies(later, tried(*later), 4_000.0) is None


def test_then_copies_are_tried_at_half_the_rate() -> None:
    """With twice the rounds, whether copies helped or not."""
    for loss in (0.3, 0.6):
        copied = trial(1, loss, fixed=COPIES)
        assert HALF == refined(trial(0, 0.5), copied)


def test_the_best_few_are_copied_before_a_rate_is_lowered() -> None:
    """What is best in copies is lowered first, however bad it was alone."""
    alone = [trial(0, 0.4), trial(1, 0.5, leaves=63), trial(2, 0.6, leaves=9), trial(3, 0.7, 11)]
    copies = [trial(4, 0.3, fixed=COPIES), trial(5, 0.2, leaves=63, fixed=COPIES)]
    assert (9, COPIES) == next_of(*alone, *copies)
    copies.append(trial(6, 0.35, leaves=9, fixed=COPIES))
    assert (63, HALF) == next_of(*alone, *copies)


def test_a_rate_that_helped_is_halved_again() -> None:
    """From the lower rate on; one that did not ends it, and the next best is lowered."""
    done = [trial(0, 0.5), trial(1, 0.4, fixed=COPIES), trial(2, 0.3, fixed=HALF)]
    assert {"learning_rate": 0.025, "rounds": 200, "copies": 4} == refined(*done)
    done = [trial(0, 0.5), trial(1, 0.4, fixed=COPIES), trial(2, 0.45, fixed=HALF)]
    assert {} == refined(*done, seconds_left=19.0)
    more = [trial(3, 0.6, leaves=9), trial(4, 0.5, leaves=9, fixed=COPIES)]
    assert (7, {"learning_rate": 0.025, "rounds": 200, "copies": 4}) == next_of(*done, *more)


def test_a_rate_that_is_too_low_is_not_halved() -> None:
    """There is an end to it."""
    lowest = {"learning_rate": 0.0125, "rounds": 400, "copies": 4}
    rates = [{"learning_rate": 0.1 / 2**n, "rounds": 50 * 2**n, "copies": 4} for n in range(3)]
    copied = [trial(n + 1, 0.4 - 0.1 * n, fixed=fixed) for n, fixed in enumerate(rates)]
    assert lowest == refined(trial(0, 0.5), *copied)
    assert {} == refined(trial(0, 0.5), *copied, trial(9, 0.1, fixed=lowest))


def next_of(*done: Trial) -> tuple[Any, dict[str, Any]]:
    """The leaves of what is tried next, and what is fixed."""
    found = refinement(done, tried(*done), 100.0)
    assert found is not None
    return found[0]["lightgbm.leaves"], found[2]


def test_copies_need_something_drawn_at_random() -> None:
    """Without it all seeds give the same trees."""
    every = {"feature_share": 1.0, "row_share": 1.0, "learning_rate": 0.1, "copies": 1}
    assert {"learning_rate": 0.05} == refined(trial(0, 0.5, settings=every))


def test_the_releases_training_takes_its_time_too() -> None:
    """Where the budget is to hold it."""
    long = trial(0, 0.5, training_seconds=40.0)
    found = refinement([long], set(), 100.0, with_training=True)
    assert found is not None
    assert 2 == found[2]["copies"]


def test_other_families_are_not_refined() -> None:
    """Where a linear model did best the trees are left alone."""
    assert {} == refined(trial(0, 0.5), trial(1, 0.4, family="linear"))


def test_a_rate_that_is_searched_is_left_alone() -> None:
    """The declaration says so; copies are no matter of it."""
    searched = {"lightgbm.leaves": 7, "lightgbm.learning_rate": 0.1}
    alone, copied = (trial(n, 0.5, parameters=searched, fixed=f) for n, f in ((0, {}), (1, COPIES)))
    assert COPIES == refined(alone)
    assert {} == refined(alone, copied)


def test_known_settings_are_preferred_where_none_are_shown_to_be_better() -> None:
    """By the noise between stretches of time; their copies are known as well."""
    luck = [0.5 + 0.01 * (-1) ** place for place in range(20)]
    known = trial(0, 0.5, known=True, blocks=[0.5] * 20)
    lucky = trial(1, 0.499, leaves=9, blocks=[loss - 0.001 for loss in luck])
    better = trial(2, 0.49, leaves=11, blocks=[0.49 + 0.0001 * place for place in range(20)])
    copies = trial(3, 0.4985, fixed=COPIES, blocks=[0.4985] * 20)
    assert [0, 1] == [each.number for each in preferred([known, lucky])]
    assert [2, 1, 0] == [each.number for each in preferred([known, lucky, better])]
    assert [3, 1, 0] == [each.number for each in preferred([known, lucky, copies])]
    assert [3, 2, 1, 0] == [each.number for each in preferred([known, lucky, copies, better])]
    assert [1] == [each.number for each in preferred([lucky])]
