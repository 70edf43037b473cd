"""A dataset is what `extract` gives, in pieces; the same archive and rule give the same bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import archived
import numpy as np
import pytest

from batch.datasets import buckets, once, parts, sorted_rows, taken
from batch.datasets.build import MISSING_FIELDS, NO_EXAMPLES, SINGLE_CLASS, build
from batch.datasets.dataset import Dataset, Quarantined, extract
from batch.datasets.store import DatasetStore
from batch.training_set import TrainingSet
from features.archive.files import BACKFILL
from features.plan import compile_plan
from tidemill import DatasetRule, Label, Match, Request, RequestFeature, Share, column
from tidemill.clock import FakeClock
from tidemill.declaration import BadCase, Project
from tidemill.durations import DAY_MS
from tidemill.errors import DeclarationError, InputError

MAY_1_MS = 1_367_366_400_000
LIVE_MS = MAY_1_MS + 20 * DAY_MS
Make = Callable[..., Any]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces, buckets and groups so small that everything is cut often."""
    monkeypatch.setattr(once, "PIECE_ROWS", 100)
    monkeypatch.setattr(once, "SAMPLED", 3)
    monkeypatch.setattr(taken, "PIECE_ROWS", 70)
    monkeypatch.setattr(buckets, "BUCKET_ROWS", 300)
    monkeypatch.setattr(sorted_rows, "BUCKET_BYTES", 120 * 400)
    monkeypatch.setattr(parts, "GROUP_ROWS", 64)
    monkeypatch.setattr(parts, "_PART_BYTES", 64 * 20 * 3)


def assert_same(expected: Dataset, found: Dataset) -> None:
    """Every array is equal, to the bit and in its type."""
    for each in dataclasses.fields(expected):
        one, other = (getattr(data, each.name) for data in (expected, found))
        np.testing.assert_array_equal(one, other, each.name)
        assert one.dtype == other.dtype, each.name


def messy(rng: np.random.Generator, rows: int) -> dict[str, Any]:
    """Live examples with all that can happen: late labels, corrections, and what was sent again."""
    numbers = np.arange(rows)
    ids = np.where(rng.random(rows) < 0.2, rng.integers(0, rows, rows), numbers)
    again = np.where(rng.random(rows) < 0.1, rng.integers(0, rows, rows), numbers)
    label_times = LIVE_MS + rng.integers(0, 12 * 24, rows) * (DAY_MS // 24)
    return {
        "offset": np.argsort(np.argsort(numbers + rng.normal(0, 30, rows))),
        "join_partition": again % 3,
        "sequence": again // 3 + 1,
        "prediction_id": [None if i % 17 == 0 else "" if i % 13 == 0 else f"p{i}" for i in ids],
        "label_time": label_times,
        "sampled": rng.choice([1.0, 10.0], rows),
    }


@pytest.mark.parametrize("seed", range(6))
def test_the_rows_are_those_of_extract(
    backfilled: Path, project: Project, go_live: Make, small: None, seed: int
) -> None:
    """For random archives, ranges and ranges left out, however small the pieces."""
    rng = np.random.default_rng(seed)
    go_live(backfilled, **messy(rng, 1440))
    span = [(None, None), (MAY_1_MS + DAY_MS, None), (None, LIVE_MS + 5 * DAY_MS),
            (LIVE_MS, LIVE_MS + 6 * DAY_MS), (None, None), (None, LIVE_MS)][seed]  # fmt: skip
    aside = Quarantined([(10, 30), (100, 101)], 1300) if seed in (1, 4) else Quarantined()
    training = TrainingSet(backfilled, compile_plan(project))
    expected = extract(training, *span, aside)
    store = DatasetStore(backfilled, "p")
    made = build(training, DatasetRule(*span), store, aside)
    assert_same(expected.data, store.read(made.id))
    assert expected.offsets == made.offsets
    assert (len(expected.data), 0, {}) == (made.rows, made.backfilled, made.left_out)
    assert (sum(made.part_rows), len(made.parts)) == (made.rows, len(made.part_rows))
    assert len(made.parts) > 3


@pytest.mark.parametrize("features", [archived.NEW, archived.RATES], ids=["new", "rates"])
def test_a_changed_schema_is_backfilled_piece_by_piece(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, features: tuple[Any, ...]
) -> None:
    """Vectors logged for another declaration become those that would have been served."""
    monkeypatch.setattr(taken, "PIECE_ROWS", 17)
    archived.live(tmp_path)
    training = TrainingSet(tmp_path, compile_plan(archived.project(features)))
    store = DatasetStore(tmp_path, "payments")
    expected, made = extract(training), build(training, DatasetRule(), store)
    assert_same(expected.data, store.read(made.id))
    assert (expected.backfilled, expected.offsets) == (made.backfilled, made.offsets)
    assert made.backfilled == made.rows > 50


def test_the_same_input_is_the_same_bytes(
    backfilled: Path, project: Project, go_live: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Rebuilt elsewhere at another time, id and files are equal; here nothing is written again."""
    go_live(backfilled)
    training = TrainingSet(backfilled, compile_plan(project))
    store = DatasetStore(backfilled, "p", FakeClock(1_000))
    other = DatasetStore(tmp_path_factory.mktemp("other"), "p", FakeClock(2_000))
    first, again, elsewhere = (build(training, DatasetRule(), s) for s in (store, store, other))
    assert first == again
    assert (first.id, 1_000, 2_000) == (elsewhere.id, first.created_ms, elsewhere.created_ms)
    names = sorted(path.name for path in store.folder(first.id).iterdir())
    assert [*first.parts, "manifest.json"] == sorted(names, key=lambda n: (n == "manifest.json", n))
    for name in first.parts:
        one, two = ((s.folder(first.id) / name).read_bytes() for s in (store, other))
        assert one == two
    assert [first.id] == store.names()


def test_how_it_was_cut_does_not_show(
    backfilled: Path, project: Project, go_live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces and buckets of any size give the same dataset."""
    go_live(backfilled)
    training = TrainingSet(backfilled, compile_plan(project))
    store = DatasetStore(backfilled, "p")
    rule = DatasetRule(match=Match(("kind",), 0.5), shares=(Share(1, 1.5),))
    whole = build(training, rule, store)
    for module, name, size in (
        (once, "PIECE_ROWS", 100), (taken, "PIECE_ROWS", 70), (buckets, "BUCKET_ROWS", 300),
        (once, "SAMPLED", 3), (sorted_rows, "BUCKET_BYTES", 120 * 400),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, size)
    assert whole == build(training, rule, store)


def test_a_filter_reads_features_requests_label_and_time(tmp_path: Path) -> None:
    """Only rows for which it is true stay; the manifest says how many went."""
    archived.live(tmp_path)
    training = TrainingSet(tmp_path, compile_plan(archived.project()))
    store = DatasetStore(tmp_path, "payments")
    everything = extract(training).data
    rule = DatasetRule(where=f"shop == 's1' and amount > 20 and time >= {archived.START}")
    made = build(training, rule, store)
    amounts = everything.vectors[:, 0]
    assert 0 < made.rows < (amounts > 20).sum()
    assert (store.read(made.id).vectors[:, 0] > 20).all()
    assert len(everything) == made.rows + made.dropped
    assert {"where"} == set(made.rule)
    assert rule == made.as_rule()


def test_the_newest_of_it_and_what_is_final(backfilled: Path, project: Project) -> None:
    """`last` and `matured` are counted from what is archived, not from a clock."""
    training = TrainingSet(backfilled, compile_plan(project))
    store = DatasetStore(backfilled, "p")
    everything = extract(training).data
    end = int(everything.times.max()) + 1
    last = build(training, DatasetRule(last="3d"), store)
    assert ((everything.times >= end - 3 * DAY_MS).sum(), end) == (last.rows, last.to_ms)
    matured = int(everything.label_times.max()) - DAY_MS
    final = build(training, DatasetRule(matured=True), store)
    assert ((everything.times < matured).sum(), matured) == (final.rows, last.matured_ms)
    both = build(training, DatasetRule(matured=True, last="2d"), store)
    assert (final.to_ms, 288) == (both.to_ms, both.rows)


def test_the_split_is_the_gates(backfilled: Path, project: Project, go_live: Make) -> None:
    """Trained on are rows labelled before the holdout, judged are requests in it, a gap between."""
    go_live(backfilled)
    training = TrainingSet(backfilled, compile_plan(project))
    store = DatasetStore(backfilled, "p")
    made = build(training, DatasetRule(), store)
    data, split = store.read(made.id), made.split
    start = int(data.times.max()) + 1 - 5 * DAY_MS
    older = data.label_times < start
    holdout = ~older & (data.times >= start)
    assert (start, start) == (split.start_ms, split.train_until_ms)
    assert (older.sum(), holdout.sum()) == (split.train, split.holdout)
    assert (len(data) - split.train - split.holdout, True) == (split.gap, split.gap > 0)
    wider = build(training, DatasetRule(gap="1d"), store).split
    assert (data.label_times < start - DAY_MS).sum() == wider.train
    assert split.holdout == wider.holdout


def test_a_dataset_of_a_dataset(backfilled: Path, project: Project, go_live: Make, small: None):
    """Its rows with a further rule; the chain is in the manifests."""
    go_live(backfilled)
    training = TrainingSet(backfilled, compile_plan(project))
    store = DatasetStore(backfilled, "p")
    first = build(training, DatasetRule(where="x1 > 0"), store)
    second = build(training, DatasetRule(parent=first.id, where="x2 > 0"), store)
    at_once = build(training, DatasetRule(where="x1 > 0 and x2 > 0"), store)
    assert_same(store.read(at_once.id), store.read(second.id))
    assert (first.id, first.offsets) == (second.parent, second.offsets)
    ranged = build(training, DatasetRule(parent=first.id, to_ms=LIVE_MS), store)
    assert (store.read(first.id).times < LIVE_MS).sum() == ranged.rows
    assert {} == ranged.offsets
    with pytest.raises(DeclarationError, match="a parent and an end"):
        dataclasses.replace(project, dataset=DatasetRule(parent=first.id, to_ms=LIVE_MS))


def test_what_a_parent_cannot_give(tmp_path: Path) -> None:
    """A dataset keeps no requests; an unknown one and one of other features are refused."""
    archived.live(tmp_path)
    store = DatasetStore(tmp_path, "payments")
    old, new = (
        TrainingSet(tmp_path, compile_plan(archived.project(f)))
        for f in (archived.OLD, archived.NEW)
    )
    first = build(old, DatasetRule(), store)
    with pytest.raises(DeclarationError, match="shop"):
        build(old, DatasetRule(parent=first.id, where="shop == 's1'"), store)
    with pytest.raises(InputError, match=f"parent: found {first.id} of"):
        build(new, DatasetRule(parent=first.id), store)
    with pytest.raises(InputError, match="dataset: found 'd0123456789ab'"):
        build(old, DatasetRule(parent="d0123456789ab"), store)
    assert [first.id] == store.names()


@pytest.mark.parametrize(
    ("rule", "cause", "said"),
    [
        (DatasetRule(to_ms=5), NO_EXAMPLES, "newest request in the archive is of 2013-05-20 23:50"),
        (DatasetRule(from_ms=MAY_1_MS + 19 * DAY_MS, matured=True), NO_EXAMPLES,
         "labels are final up to 2013-05-20 00:50"),
        (DatasetRule(where="x1 > 1000"), NO_EXAMPLES, "where: found none of 2880 examples"),
        (DatasetRule(where="label == 1", shares=(Share(0, 0.5),)), SINGLE_CLASS, "only label 1"),
    ],
)  # fmt: skip
def test_nothing_to_make_it_of(
    backfilled: Path, project: Project, rule: DatasetRule, cause: str, said: str
) -> None:
    """Says what was found, until when there is something, and leaves nothing behind."""
    store = DatasetStore(backfilled, "p")
    if rule.matured:
        rule = dataclasses.replace(rule, from_ms=MAY_1_MS + 20 * DAY_MS - 3_600_000)
    with pytest.raises(InputError) as caught:
        build(TrainingSet(backfilled, compile_plan(project)), rule, store)
    assert (cause, True) == (caught.value.cause, said in str(caught.value)), str(caught.value)
    assert [] == store.names()
    assert [".lock"] == [path.name for path in (backfilled / "datasets" / "p").iterdir()]


def test_an_empty_archive(tmp_path: Path, project: Project) -> None:
    """Without any example there is no dataset."""
    with pytest.raises(InputError, match="no labelled example") as caught:
        build(
            TrainingSet(tmp_path, compile_plan(project)), DatasetRule(), DatasetStore(tmp_path, "p")
        )
    assert NO_EXAMPLES == caught.value.cause


def test_a_field_that_the_requests_lack_is_named(tmp_path: Path) -> None:
    """Examples that cannot be brought to the declaration are counted by what they lack."""
    archived.live(tmp_path, 60)
    wider = Request({"card": str, "shop": str, "amount": float, "country": str})
    more = (*archived.OLD, RequestFeature("more", wider.amount * 2))
    plan = compile_plan(
        Project("payments", archived.project().events, wider, more, archived.project().label)
    )
    with pytest.raises(InputError, match="all logged without country") as caught:
        build(TrainingSet(tmp_path, plan), DatasetRule(), DatasetStore(tmp_path, "payments"))
    assert MISSING_FIELDS == caught.value.cause


def test_some_without_their_request(backfilled: Path, project: Project, go_live: Make) -> None:
    """What is left out is counted; the rest is a dataset."""
    go_live(backfilled, schema=["other"] * 1440, vector=[b"\0" * 8] * 1440)
    made = build(
        TrainingSet(backfilled, compile_plan(project)), DatasetRule(), DatasetStore(backfilled, "p")
    )
    assert (20 * 144, {"request": 1440}, 1440) == (
        made.rows, made.left_out, made.offsets["examples:0"]
    )  # fmt: skip


def test_a_single_class_and_labels_not_final_are_warned_of(
    tmp_path: Path, make_project: Make, append: Make, columns: Make
) -> None:
    """A dataset that no model can be judged on can be made, and says so."""
    project = make_project(label=Label(key=("kind",), wait="30d"))
    append(tmp_path, BACKFILL, columns(project, 720, 1, MAY_1_MS) | {"label": np.zeros(720)})
    made = build(
        TrainingSet(tmp_path, compile_plan(project)), DatasetRule(), DatasetStore(tmp_path, "p")
    )
    assert "single class: found only label 0" == made.warnings[0]
    assert "not matured: labels are final for requests before 2013-04-06 00:50" in made.warnings[-1]


def test_bad_cases_weigh_more_where_a_model_trains(
    backfilled: Path, make_project: Make, go_live: Make
) -> None:
    """By the project's rules; the holdout keeps its weights, and the rules are in the manifest."""
    rule = BadCase("missed", (column("label") > 0) & (column("x1") < 0))
    project = make_project(bad_cases=(rule,))
    go_live(backfilled)
    training = TrainingSet(backfilled, compile_plan(project))
    store = DatasetStore(backfilled, "p")
    made = build(training, DatasetRule(bad_cases=3.0), store)
    data = store.read(made.id)
    bad = (data.labels > 0) & (data.vectors[:, 1] < 0)
    held = data.times >= made.split.start_ms
    assert {3.0} == set(data.weights[bad & ~held])
    assert {1.0} == set(data.weights[~bad | held])
    assert {"missed": "((label > 0) and (x1 < 0))"} == made.bad_cases
