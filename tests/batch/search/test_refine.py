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


def test_what_is_best_in_copies_is_lowered_first() -> None:
    """However bad it was alone."""
    both = trial(0, 0.4), trial(1, 0.5, leaves=63)
    copies = [trial(2, 0.3, fixed=COPIES), trial(3, 0.2, leaves=63, fixed=COPIES)]
    done = [*both, *copies]
    found = refinement(done, tried(*done), 100.0)
    assert found is not None
    assert (63, {"learning_rate": 0.05}) == (found[0]["lightgbm.leaves"], found[2])


def test_then_it_is_tried_at_half_the_rate() -> None:
    """Copies are tried once, whether they helped or not."""
    for loss in (0.3, 0.6):
        copied = trial(1, loss, fixed=COPIES)
        assert {"learning_rate": 0.05} == refined(trial(0, 0.5), copied)


def test_a_rate_that_helped_is_copied_and_halved_again() -> None:
    """From the lower rate on."""
    half = trial(2, 0.3, fixed={"learning_rate": 0.05})
    done = [trial(0, 0.5), trial(1, 0.4, fixed=COPIES), half]
    copies = {**COPIES, "learning_rate": 0.05}
    assert copies == refined(*done)
    assert {"learning_rate": 0.025} == refined(*done, trial(3, 0.2, fixed=copies))


def test_a_rate_that_was_too_low_ends_it() -> None:
    """The next best is refined then."""
    half = trial(2, 0.6, fixed={"learning_rate": 0.05})
    done = [trial(0, 0.5), trial(1, 0.4, fixed=COPIES), half]
    assert {} == refined(*done)
    found = refinement([*done, trial(4, 0.7, leaves=9)], tried(*done), 100.0)
    assert found is not None
    assert 9 == found[0]["lightgbm.leaves"]


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
    assert [1] == [each.number for each in preferred([lucky])]
