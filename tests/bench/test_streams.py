"""Streams as the quality benchmarks play them: what is known when, and how good scores are."""

from pathlib import Path

import numpy as np
import pytest

from bench.quality import schedule
from bench.streams.bootstrap import log_losses, measure
from bench.streams.clicks import ClickSettings, simulate_clicks
from bench.streams.flights import read_flights
from bench.streams.service import Releases, Service, last_label, serve
from bench.streams.stream import Stream, plain_schema, steps
from bench.streams.tables import Missing, from_table, read_elec
from cli.demo.options import PROJECT_FILE, month_start_ms
from learners.quality.measures import auc
from tidemill.durations import DAY_MS
from tidemill.learner_kinds import Linear
from tidemill.loading import load_project
from tidemill.trainer_kinds import LinearModel


def small(delay_ms: int = 5) -> Stream:
    """Forty rows asked a millisecond apart, each label known so much later."""
    times = np.arange(40, dtype=np.int64)
    random = np.random.default_rng(1)
    return Stream(
        "small", random.normal(size=(40, 2)).astype(np.float32), (times % 3 == 0).astype(float),
        times, times + delay_ms, plain_schema(["a", "b"]), 20, (30,), times // 4, 1,
    )  # fmt: skip


def clicks(rows: int = 3_000) -> Stream:
    """A short stream of clicks."""
    return simulate_clicks(ClickSettings(rows, 1.0, users=50, advertisements=20, sites=10))


def test_every_row_is_asked_once_and_known_once() -> None:
    """Steps of any length cover all rows, in order."""
    stream = small()
    found = list(steps(stream, 7))
    asked, known = (
        np.concatenate([getattr(step, name) for step in found]) for name in ("asked", "known")
    )
    assert (list(range(40)), list(range(40))) == (asked.tolist(), known.tolist())


def test_no_row_is_known_before_it_was_asked() -> None:
    """In a peer's schedule a label comes after its own row and after its time only."""
    stream = small()
    order = schedule(stream, None).tolist()
    late = [order.index(-row - 1) - order.index(row) for row in range(20, 34)]
    assert min(late) > 0


def test_a_short_history_leaves_out_the_oldest_rows() -> None:
    """Only the newest rows before the first scored one are learned."""
    learned = [-entry - 1 for entry in schedule(small(), 3).tolist() if entry < 0]
    assert 17 == min(learned)


def test_a_release_knows_no_label_of_its_future() -> None:
    """Its rows are those whose labels were known before its moment."""
    stream = small()
    rows = Releases(stream, LinearModel()).rows(30)
    assert (24, True) == (int(rows.max()), bool((stream.label_times[rows] < 30).all()))


def test_scores_do_not_depend_on_later_labels() -> None:
    """Changing the labels that come after a moment changes no score before it."""
    stream = clicks()
    moment = int(stream.times[2_000])
    changed = stream.labels.copy()
    changed[stream.label_times >= moment] = 0
    other = Stream(
        stream.name, stream.vectors, changed, stream.times, stream.label_times, stream.schema,
        stream.warm, stream.retrains_ms, stream.blocks, stream.step_ms,
    )  # fmt: skip
    service = Service(Linear(hash_bits=None))
    first, second = (
        serve(service, Releases(one, LinearModel(hash_bits=None))) for one in (stream, other)
    )
    before = stream.times[stream.scored] < moment
    assert (first[before] == second[before]).all()


def test_weights_are_exchanged_once_an_interval() -> None:
    """With one interval for everything, nothing learned since reaches an answer."""
    stream = clicks()
    releases = Releases(stream, LinearModel(hash_bits=None))
    service = Service(Linear(hash_bits=None), retrain=False)
    late = serve(service, releases, step_ms=10**9)
    frozen = releases.frozen(stream.start_ms).predict_many(stream.vectors[stream.scored])
    np.testing.assert_allclose(late, frozen, rtol=0, atol=1e-9)


def test_the_last_label_is_the_last_known_one() -> None:
    """Where labels alternate the baseline is nearly certain."""
    labels = np.tile([0.0, 1.0], 200)
    stream = from_table("turns", ["a"], np.zeros((400, 1)), labels, warm=100, every=1_000)
    losses = log_losses(labels[100:], last_label(stream))
    assert losses.mean() < 0.05


def test_a_stream_has_its_times_in_order() -> None:
    """A label that is known before its request is refused."""
    with pytest.raises(ValueError, match="found times out of order"):
        small(delay_ms=-1)


def test_the_truth_of_the_clicks_is_their_optimum() -> None:
    """Labels are drawn with the true probabilities: any tilt of those is worse."""
    stream = clicks(20_000)
    assert stream.truth is not None
    odds = np.log(stream.truth / (1 - stream.truth))
    losses = [
        log_losses(stream.labels, 1 / (1 + np.exp(-tilt * odds))).mean() for tilt in (0.8, 1, 1.25)
    ]
    assert losses[1] == min(losses)


def test_measures_agree_with_the_plain_ones() -> None:
    """AUC over all rows is that of the product, ties included; the interval holds it."""
    random = np.random.default_rng(3)
    labels = (random.random(500) < 0.3).astype(float)
    scores = np.round(random.random(500) * 0.5 + labels * 0.2, 1)
    found = measure(labels, scores, np.arange(500) // 10)["auc"]
    low, high = found.interval
    assert (pytest.approx(auc(labels, scores)), True) == (found.value, low < found.value < high)


def test_without_its_file_elec_is_missing(tmp_path: Path) -> None:
    """Without the file there is a reason, no crash."""
    with pytest.raises(Missing, match=r"elec\.csv"):
        read_elec(tmp_path / "elec.csv")


def test_flights_are_those_of_any_project() -> None:
    """The example itself knows no legs and is read all the same; a stretch can be cut out."""
    stream = read_flights(PROJECT_FILE, last_month=1)
    assert len(load_project(PROJECT_FILE).feature_names) == stream.vectors.shape[1]
    begin, start = month_start_ms(1) + 10 * DAY_MS, month_start_ms(1) + 20 * DAY_MS
    cut = stream.between(begin, start)
    assert (begin, start) <= (int(cut.times[0]), cut.start_ms)
    assert int(cut.times[cut.warm - 1]) < start
    assert int((stream.times >= start).sum()) == len(cut.labels[cut.scored])
