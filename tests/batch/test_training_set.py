"""Training vectors: what was logged is reused, what is new is what would have been served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from archived import (
    HOUR,
    MINUTE,
    NEW,
    OLD,
    RATES,
    START,
    Archived,
    Oracle,
    live,
    project,
)

from batch.training_set import Backfilled, TrainingSet
from features.archive.definitions import write_definition
from features.archive.files import read_examples
from features.plan import compile_plan
from tidemill import Request, RequestFeature, Window


def vectors(home: Path, features: tuple, **options) -> Backfilled:
    """The archive's examples brought to these features."""
    plan = compile_plan(project(features))
    return TrainingSet(home, plan, **options).vectors(read_examples(home, "payments"))


@pytest.mark.parametrize(("name", "features"), [("old", OLD), ("new", NEW), ("rates", RATES)])
def test_vectors_are_those_that_would_have_been_served(
    tmp_path: Path, name: str, features: tuple
) -> None:
    """Bit for bit the vectors of a service that had this declaration from the start."""
    archived, served = live(tmp_path)
    found = vectors(archived.home, features)
    assert len(served[name]) == len(found.vectors)
    np.testing.assert_array_equal(served[name], found.vectors)
    assert served[name].astype("<f4").tobytes() == found.vectors.tobytes()
    assert (0 if name == "old" else len(found.rows)) == found.computed


def test_an_event_that_became_known_later_does_not_leak(tmp_path: Path) -> None:
    """What happened before a prediction and was told after it, or with it, is not in its vector."""
    archived = Archived(tmp_path)
    archived.event(START, card="c1", shop="s1", amount=1.0)
    nothing = np.zeros(len(archived.plan.schema.names), np.float32)
    first = archived.score(START + 2 * MINUTE, nothing, card="c1", shop="s1", amount=5.0)
    archived.event(START + 3 * MINUTE, START + MINUTE, card="c1", shop="s1", amount=10.0)
    archived.event(START + 4 * MINUTE, card="c1", shop="s1", amount=100.0)
    second = archived.score(START + 4 * MINUTE, nothing, card="c1", shop="s1", amount=5.0)
    for each in (first, second):
        archived.label(each, START + HOUR, 1)
    found = vectors(archived.write(), NEW)
    at = compile_plan(project(NEW)).schema.names.index("sold_sum_shop_24h")
    assert [1.0, 11.0] == found.vectors[:, at].tolist()


def test_what_was_logged_is_reused(tmp_path: Path) -> None:
    """An unchanged feature keeps its logged number, even one that a replay would not give."""
    archived = Archived(tmp_path)
    archived.event(START, card="c1", shop="s1", amount=3.0)
    logged = np.arange(len(archived.plan.schema.names), dtype=np.float32) + 100
    prediction = archived.score(START + MINUTE, logged, card="c1", shop="s1", amount=5.0)
    archived.label(prediction, START + HOUR, 1)
    found = vectors(archived.write(), NEW)
    names = compile_plan(project(NEW)).schema.names
    values = dict(zip(names, found.vectors[0].tolist(), strict=True))
    expected = dict(zip(archived.plan.schema.names, logged.tolist(), strict=True))
    assert expected == {name: values[name] for name in expected}
    assert (3.0, 0.0) == (values["sold_sum_shop_24h"], values["visits_count_card_1h"])


def test_a_feature_that_means_something_else_is_computed(tmp_path: Path) -> None:
    """The same name with another filter is another feature, and so is what is derived from it."""
    archived = Archived(tmp_path)
    payment = archived.plan.project.events[0]
    archived.event(START, card="c1", shop="s1", amount=4.0)
    logged = np.full(len(archived.plan.schema.names), 100, np.float32)
    prediction = archived.score(START + MINUTE, logged, card="c1", shop="s1", amount=8.0)
    archived.label(prediction, START + HOUR, 1)
    paid = OLD[1]
    changed = Window(paid.name, payment, paid.aggregate, paid.by, paid.over, paid.of,
                     where=payment.amount > 1)  # fmt: skip
    found = vectors(archived.write(), (OLD[0], changed, OLD[2]))
    assert [100.0, 1.0, 4.0, 1.0, 4.0, 2.0] == found.vectors[0].tolist()


def test_an_example_that_lacks_what_it_takes_is_left_out(tmp_path: Path) -> None:
    """A request without a field that is declared by now, or none at all, cannot be completed."""
    archived, served = live(tmp_path, 60)
    wider = Request({"card": str, "shop": str, "amount": float, "country": str})
    plan = compile_plan(
        project(OLD).__class__(
            "payments", project().events, wider,
            (*OLD, RequestFeature("more", wider.amount * 2)), project().label,
        )
    )  # fmt: skip
    found = TrainingSet(tmp_path, plan).vectors(read_examples(tmp_path, "payments"))
    assert (0, 0) == (len(found.rows), found.computed)
    assert len(served["old"]) > 0
    assert archived.home == tmp_path


def test_vectors_of_an_unknown_declaration_are_computed_whole(tmp_path: Path) -> None:
    """Without its definitions a logged vector cannot be read; its request suffices."""
    _, served = live(tmp_path)
    for path in tmp_path.glob("archive/*/schemas/*.json"):
        path.unlink()
    found = vectors(tmp_path, NEW)
    assert served["new"].tobytes() == found.vectors.tobytes()
    write_definition(tmp_path, compile_plan(project()), 0)
    assert served["new"].tobytes() == vectors(tmp_path, NEW).vectors.tobytes()


def test_duplicates_and_refused_events_do_not_count(tmp_path: Path) -> None:
    """Repeated, far too late and malformed events are no facts."""
    archived, oracle = Archived(tmp_path), Oracle(NEW)
    paid = {"card": "c1", "shop": "s1", "amount": 2.0}
    for _ in range(2):
        archived.event(START, **paid, id="once")
    archived.event(START + 1, START + 1 - 40 * HOUR, **paid)
    archived.event(START + 2, card="c1", shop=7, amount=2.0)
    oracle.event(START, **paid)
    request = {"card": "c1", "shop": "s1", "amount": 5.0}
    logged = np.zeros(len(archived.plan.schema.names), np.float32)
    archived.label(archived.score(START + MINUTE, logged, **request), START + HOUR, 1)
    at = [compile_plan(project(NEW)).schema.names.index(n)
          for n in ("sold_sum_shop_24h", "sold_last_shop_24h")]  # fmt: skip
    found = vectors(archived.write(), NEW).vectors[0]
    assert oracle.vector(START + MINUTE, **request)[at].tolist() == found[at].tolist()
