"""A project compiles into a layout that fits its windows and tells layouts apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shops

from features.layout import tile_step_ms
from features.plan import EntityPlan, compile_plan
from features.replay import Replayer
from tidemill import Event, Label, Project, Request, Window
from tidemill.durations import DAY_MS, HOUR_MS, MINUTE_MS, duration_ms

PLAN = compile_plan(shops.project)


def entity_of(*windows: Window) -> EntityPlan:
    """The plan of the card in a project with these windows."""
    label = Label(("card",), "1h")
    project = Project("p", (shops.payment, shops.visit), shops.request, windows, label)
    return compile_plan(project).entities[0]


def spent(over: str = "1h", *aggregate: str, name: str = "spent") -> Window:
    """The payments of a card."""
    kinds = aggregate or ("sum",)
    return Window(name, shops.payment, kinds, (shops.card,), (over,), shops.payment.amount)


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ("1min", MINUTE_MS),
        ("59min", MINUTE_MS),
        ("1h", 5 * MINUTE_MS),
        ("11h", 5 * MINUTE_MS),
        ("12h", HOUR_MS),
        ("11d", HOUR_MS),
        ("12d", DAY_MS),
        ("90d", DAY_MS),
    ],
)
def test_the_step_grows_with_the_window(over: str, expected: int) -> None:
    """Each length has its step of the ladder."""
    assert expected == tile_step_ms(duration_ms("over", over))


@pytest.mark.parametrize("minutes", [12, 13, 30, 60, 90, 719, 720, 1440, 17_280, 129_600])
def test_a_step_is_a_twelfth_of_the_window_or_finer(minutes: int) -> None:
    """From 12 minutes on a window's tail is rounded by at most a twelfth of its length."""
    assert tile_step_ms(minutes * MINUTE_MS) * 12 <= minutes * MINUTE_MS


def test_a_ring_holds_one_tile_more_than_the_window() -> None:
    """Both ends of a window may lie inside a tile, also where the length is no multiple."""
    tiles = [int(entity_of(spent(over)).groups[0].rings[0, 2]) for over in ("1h", "90s", "61min")]
    assert [13, 3, 14] == tiles


def test_windows_of_one_expression_share_their_tiles() -> None:
    """Another aggregate or a shorter window of the same numbers adds no ring."""
    together = entity_of(spent("1h", "sum"), spent("2h", "mean", name="more"))
    assert (1, 1) == (len(together.groups[0].series), len(together.groups[0].rings))


def test_rows_are_whole_int64_words_and_never_overlap() -> None:
    """Rings and last values lie one after the other inside the row."""
    for entity in PLAN.entities:
        spans = []
        for group in entity.groups:
            spans += [(word, word + 4 * kept) for _, word, kept in group.lasts.tolist()]
            spans += [(word, word + 6) for _, word, _ in group.decays.tolist()]
            for _, word, tiles, _, width, *_ in group.rings.tolist():
                spans.append((word, word + 2 + tiles * width))
        spans.sort()
        ends = [4, *(end for _, end in spans)]
        starts = [*(start for start, _ in spans), entity.words]
        assert (0, []) == (
            entity.words % 2,
            [s for s, e in zip(starts, ends, strict=True) if s < e],
        )


def test_every_window_feature_has_one_row_and_every_output_is_written_once() -> None:
    """The feature tables fill exactly the window features' columns."""
    outputs = sorted(int(row[0]) for entity in PLAN.entities for row in entity.features)
    others = {"amount", "hour", "shop", "ratio", "double"}
    names = PLAN.schema.names
    assert [i for i, name in enumerate(names) if name not in others] == outputs


CHANGES = {
    "another aggregate of the same size": (spent("1h", "sum"), spent("1h", "max")),
    "another pair of the same size": (spent("1h", "min", "max"), spent("1h", "mean")),
    "fewer tiles, wider tiles": (spent("55min", "mean"), spent("111min", "sum")),
    "another length": (spent("1h"), spent("2h")),
    "another expression": (
        spent(),
        dataclasses.replace(spent(), of=shops.payment.amount * 2),
    ),
    "a filter": (spent(), dataclasses.replace(spent(), where=shops.payment.amount > 1)),
    "another event": (
        Window("n", shops.payment, ("count",), (shops.shop,), ("1h",)),
        Window("n", shops.visit, ("count",), (shops.shop,), ("1h",)),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_layout_changes_with_the_meaning_of_its_words(change: str) -> None:
    """Blobs of one declaration are never read as those of another, whatever their size."""
    before, after = (entity_of(window) for window in CHANGES[change])
    assert before.layout != after.layout


def test_the_layout_is_the_same_each_time() -> None:
    """Compiling twice gives the same layout, which fits a non-negative int32."""
    again = compile_plan(shops.project)
    layouts = [entity.layout for entity in PLAN.entities]
    assert layouts == [entity.layout for entity in again.entities]
    assert [True] * 3 == [0 <= layout < 2**31 for layout in layouts]


def test_an_equal_copy_of_an_event_feeds_its_windows() -> None:
    """A window may name its event by an equal definition."""
    copy = Event("payment", key="card", fields=dict(shops.payment.fields))
    window = dataclasses.replace(spent("1h", "sum"), event=copy)
    label = Label(("card",), "1h")
    request = Request({"card": str})
    replayer = Replayer(compile_plan(Project("p", (shops.payment,), request, (window,), label)))
    replayer.apply("payment", shops.payments({"time": shops.START, "amount": 3.0}))
    vectors = replayer.vectors(shops.requests({"time": shops.START}))
    np.testing.assert_array_equal([[3.0]], vectors)


def test_events_know_the_entities_they_change() -> None:
    """A payment changes card and card_shop, a visit changes the shop."""
    names = [[entity.entity.name for entity, _ in PLAN.groups_of(index)] for index in (0, 1)]
    assert [["card", "card_shop"], ["shop"]] == names
