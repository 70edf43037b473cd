"""The schema's hash changes with what changes the meaning of a vector, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest

from tidemill import (
    DerivedFeature,
    Entity,
    Event,
    Gate,
    Label,
    Project,
    Request,
    RequestFeature,
    Window,
    category,
    column,
)
from tidemill.schema import schema_of

request = Request({"card": str, "amount": float})
payment = Event("payment", key="card", fields={"card": str, "amount": float})
card = Entity("card", ("card",))
WINDOW = Window("spent", payment, ("sum",), (card,), ("1h",), payment.amount)
AMOUNT = RequestFeature("amount", request.amount)
RATIO = DerivedFeature("ratio", column("amount") / column("spent_sum_card_1h"))
BASE = Project("shop", (payment,), request, (WINDOW, AMOUNT, RATIO), Label(("card",), "1h"))


def replaced(window: Window) -> Project:
    """The project with another window and nothing derived from it."""
    return dataclasses.replace(BASE, features=(window, AMOUNT))


CHANGED = {
    "order": dataclasses.replace(BASE, features=(AMOUNT, WINDOW, RATIO)),
    "one feature less": replaced(WINDOW),
    "aggregate": replaced(dataclasses.replace(WINDOW, aggregate=("max",))),
    "length": replaced(dataclasses.replace(WINDOW, over=("2h",))),
    "filter": replaced(dataclasses.replace(WINDOW, where=payment.amount > 1)),
    "filter's number": replaced(dataclasses.replace(WINDOW, where=payment.amount > 2)),
    "expression": replaced(dataclasses.replace(WINDOW, of=payment.amount * 2)),
    "derived expression": dataclasses.replace(
        BASE, features=(WINDOW, AMOUNT, DerivedFeature("ratio", column("amount") * 2))
    ),
    "categorical": dataclasses.replace(
        BASE,
        features=(WINDOW, RequestFeature("amount", category(request.card), categorical=True)),
    ),
    "not categorical": dataclasses.replace(
        BASE, features=(WINDOW, RequestFeature("amount", category(request.card)))
    ),
}


def test_every_change_of_a_feature_changes_the_hash() -> None:
    """Order, names, lengths, filters and expressions each give another hash."""
    hashes = [schema_of(project).hash for project in (BASE, *CHANGED.values())]
    assert len(hashes) == len(set(hashes))


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"gate": Gate(tolerance=0.5)}, {"label": Label(("card",), "2h")}]
)
def test_what_is_no_feature_does_not_change_the_hash(changes: dict[str, object]) -> None:
    """Label, gate and name leave the schema as it is."""
    assert schema_of(BASE).hash == schema_of(dataclasses.replace(BASE, **changes)).hash


def test_the_hash_is_twelve_hex_digits() -> None:
    """The hash is short and made of hex digits."""
    assert (12, True) == (len(schema_of(BASE).hash), int(schema_of(BASE).hash, 16) >= 0)


def test_the_hash_is_the_same_in_another_process() -> None:
    """Nothing of the process (hash seed, addresses) is in the hash."""
    code = (
        "from tidemill import *\nfrom tidemill.schema import schema_of\n"
        "r = Request({'card': str, 'amount': float})\n"
        "e = Event('payment', key='card', fields={'card': str | None, 'amount': float})\n"
        "w = Window('w', e, ('sum',), (Entity('card', ('card',)),), ('1h',), e.amount)\n"
        "print(schema_of(Project('p', (e,), r, (w,), Label(('card',), '1h'))).hash)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert 1 == len(hashes)


def test_names_and_categories_are_in_the_order_of_the_vector() -> None:
    """The schema lists the features as the vector has them."""
    schema = schema_of(CHANGED["categorical"])
    assert (("spent_sum_card_1h", "amount"), ("amount",)) == (schema.names, schema.categorical)
