"""The benchmark of searches: curves of what was best when, and what tuners hand back."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as command
from bench._quality_page import searches
from bench._tune_curves import Curve, WrongAnswers, read_curve
from bench._tune_ours import incumbents_of, project_of, settings_of
from bench.peers.tuning import MOST, Incumbent, Rows, Stopwatch, Tuning, hand_back, thinned
from bench.tune import clicks, rows_of, times_as_fast
from tidemill.schema import schema_of


def curve(*steps: tuple[float, float]) -> Curve:
    """A search that had these losses from these seconds on."""
    seconds, losses = zip(*steps, strict=True)
    return Curve(seconds, losses, np.array([0.5]), 1.0, 10.0)


def task(folder: Path) -> Tuning:
    """A task whose files are in a folder."""
    files = (str(folder / name) for name in ("rows.npz", "scores.npy", "told.json"))
    return Tuning(*files, seconds=1.0, cores=1, seed=1)


def rows() -> Rows:
    """Ten rows asked a millisecond apart, each label known 3 ms later, and four test rows."""
    vectors, times = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10)
    return Rows(
        vectors, (times % 2).astype(np.int8), times, times + 3, vectors[:4],
        np.array(["price", "shop"]), np.array([False, True]),
    )  # fmt: skip


def test_a_curve_tells_what_was_best_by_then() -> None:
    """Before the first incumbent nothing could be shipped."""
    one = curve((2, 0.6), (5, 0.5))
    assert (True, 0.6, 0.5, 0.5) == (np.isnan(one.at(1)), one.at(4), one.at(5), one.final)


def test_a_loss_is_reached_when_it_is_kept() -> None:
    """A curve that rises again has not reached it; one that never falls so far never does."""
    one = curve((1, 0.4), (2, 0.6), (3, 0.5), (4, 0.45))
    assert (3, 4, None) == (one.reached(0.5), one.reached(0.45), one.reached(0.44))


def test_speed_is_the_time_to_their_final_loss() -> None:
    """They took 8 s to where we were after 2 s; where we never come it is 0."""
    theirs = curve((1, 0.7), (8, 0.5))
    worse, better = curve((1, 0.6)), curve((2, 0.5), (9, 0.4))
    assert (4.0, 0.0) == (times_as_fast(theirs, better), times_as_fast(theirs, worse))


def test_an_incumbent_is_better_than_all_before() -> None:
    """An equal or a worse trial is none."""
    watch = Stopwatch()
    for loss in (0.7, 0.8, 0.7, 0.6):
        watch.found(loss, {"loss": loss})
    assert [0.7, 0.6] == [each.loss for each in watch.incumbents]


def test_many_incumbents_are_thinned_between_the_first_and_the_last() -> None:
    """Few stay as they are, none stay none."""
    many = [Incumbent(float(second), 1.0, {}) for second in range(100)]
    kept = thinned(many)
    expected = (MOST, many[0], many[-1], many[:3], [])
    assert expected == (len(kept), kept[0], kept[-1], thinned(many[:3]), thinned([]))


def test_the_newest_rows_are_held_out_with_their_labels_gap() -> None:
    """Older rows are those whose label was known before the first newest one was asked."""
    older, newest = rows().forward(0.2)
    assert ([0, 1, 2, 3, 4], [8, 9]) == (older.tolist(), newest.tolist())


def test_what_a_tuner_hands_back_is_read_as_a_curve(tmp_path: Path) -> None:
    """Each incumbent has the log-loss of its own scores on the test rows."""
    tuning, given, labels = task(tmp_path), rows(), np.array([0.0, 1, 0, 1])
    found = [Incumbent(0.25, 0.9, {}), Incumbent(0.5, 0.8, {})]
    hand_back(tuning, given, 3.0, found, lambda each: np.where(labels == 1, each.seconds, 0.5))
    one = read_curve(Path(tuning.file), Path(tuning.scores), labels, given.digest())
    losses = [-np.log([0.5, share]).mean() for share in (0.25, 0.5)]
    expected = ([0.25, 0.5], pytest.approx(losses), 3.0)
    assert expected == (one.seconds, one.losses, one.search_seconds)


def test_what_came_after_the_budget_does_not_count(tmp_path: Path) -> None:
    """A trial may take a little longer; the first one counts where it is all there is."""
    tuning = task(tmp_path)
    for moments, expected in (((0.5, 1.04, 1.2), [0.5, 1.04]), ((3.0, 4.0), [3.0])):
        found = [Incumbent(moment, 0.5, {}) for moment in moments]
        hand_back(tuning, rows(), 5.0, found, lambda _: np.full(4, 0.5))
        told = json.loads(Path(tuning.file).read_text())["incumbents"]
        assert expected == [each["seconds"] for each in told]


@pytest.mark.parametrize(
    ("digest", "score", "reason"),
    [("", 0.5, "other rows"), (rows().digest(), np.nan, "no probability")],
)
def test_wrong_answers_are_refused(tmp_path: Path, digest: str, score: float, reason: str) -> None:
    """Other rows than those that were given, and scores that are no probabilities."""
    tuning = task(tmp_path)
    hand_back(tuning, rows(), 1.0, [Incumbent(1.0, 0.5, {})], lambda _: np.full(4, score))
    with pytest.raises(WrongAnswers, match=reason):
        read_curve(Path(tuning.file), Path(tuning.scores), np.zeros(4), digest)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Text names included, without pickle."""
    tuning, given = task(tmp_path), rows()
    given.write(Path(tuning.data))
    found = Rows.read(tuning)
    assert (given.digest(), ["price", "shop"]) == (found.digest(), found.names.tolist())


def test_a_task_travels_as_json(tmp_path: Path) -> None:
    """It is a program's only argument."""
    tuning = task(tmp_path)
    assert tuning == Tuning.of(json.dumps(asdict(tuning)))


def test_training_rows_are_known_before_the_first_test_row() -> None:
    """And no test row is among them."""
    stream = clicks(quick=True)
    given = rows_of(stream)
    assert (True, True, len(stream) - stream.warm) == (
        (given.label_times < stream.start_ms).all(),
        (np.diff(given.times) >= 0).all(),
        len(given.tested),
    )


def test_our_project_declares_the_rows_as_they_are() -> None:
    """Its vectors have the same columns, the same of them categorical."""
    schema = schema_of(project_of(rows(), None))
    assert (("price", "shop"), ("shop",)) == (schema.names, schema.categorical)


def test_our_incumbents_come_from_the_searchs_history() -> None:
    """What would have been shipped when, whatever had the lowest loss; settings come back whole."""
    trials = [
        {"trial": n, "origin": "portfolio", "family": "linear", "settings": {"ridge": 3.0 + n}}
        for n in range(3)
    ]
    told = zip(trials, (0.7, 0.5, 0.4), (None, 1, 1), strict=True)
    history = [
        trial | {"seconds": float(at), "loss": loss, "chosen": chosen}
        for at, (trial, loss, chosen) in enumerate(told)
    ]
    found = incumbents_of(history)
    assert ([(1.0, 0.5)], 4.0) == (
        [(each.seconds, each.loss) for each in found],
        settings_of(found[0].settings).ridge,
    )


def test_the_plot_leaves_out_what_is_far_above_all_ends() -> None:
    """A line begins where its tuner comes near."""
    measures = {
        "clicks/ours/log_loss": {"value": 0.5},
        "clicks/ours/log_loss/at/5s": {"value": 0.9},
        "clicks/ours/log_loss/at/10s": {"value": 0.5},
    }
    labels, lines = searches(measures, "clicks")
    assert (["5s", "10s"], True, 0.5) == (labels, np.isnan(lines["ours"][0]), lines["ours"][1])


def test_minutes_are_for_benchmarks_that_search(capsys: pytest.CaptureFixture[str]) -> None:
    """Others refuse the option."""
    code = command.main(["memory", "--minutes", "5"])
    assert (2, "memory: found --minutes; allowed: --quick, --json\n") == (
        code,
        capsys.readouterr().err,
    )
