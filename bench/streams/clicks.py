"""A simulator of clicks whose true probabilities are known: sparse ids, drift, one abrupt change.

The log-odds of a click are a sum of one weight per id of the request (user, advertisement, site,
and the pair of site and advertisement's campaign). Weights drift by a random walk that is pulled
back to where it began (Ornstein-Uhlenbeck), so that the share of clicks stays what it is; at one
moment a part of the advertisements gets new weights at once. Clicks come after an exponential
delay; that there was none is known when the wait is over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.streams.stream import Stream, even_blocks, plain_schema
from tidemill.durations import HOUR_MS, MINUTE_MS

IDS = ("user", "advertisement", "site", "pair")
CAMPAIGNS = 20
_TICK_MS = 10_000  # weights move this often


@dataclass(frozen=True)
class ClickSettings:
    """How many there are of each, how strong they are and how fast they drift.

    `spread` is the standard deviation of the weights of each kind of id, `half_life_ms` how long a
    deviation from its mean takes to fade by half, `changed` the share of advertisements whose
    weights are drawn anew at `change_at`, a share of the stream.
    """

    rows: int
    per_second: float
    users: int = 20_000
    advertisements: int = 2_000
    sites: int = 300
    spread: tuple[float, float, float, float] = (0.7, 0.9, 0.5, 0.5)
    base: float = -1.6
    half_life_ms: int = 3 * HOUR_MS
    changed: float = 0.3
    change_at: float = 0.7
    click_delay_ms: int = MINUTE_MS
    wait_ms: int = 10 * MINUTE_MS
    warm_share: float = 0.3
    releases: int = 4
    seed: int = 7

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """How many ids of each kind there are."""
        return self.users, self.advertisements, self.sites, self.sites * CAMPAIGNS


def simulate_clicks(settings: ClickSettings) -> Stream:
    """The stream of these settings; its `truth` is what nobody can predict better than."""
    random = np.random.default_rng(settings.seed)
    gaps = random.exponential(1000 / settings.per_second, settings.rows)
    times = np.cumsum(gaps).astype(np.int64)
    ids = _draw_ids(settings, random)
    truth = _drifting_odds(settings, random, times, ids)
    truth = 1 / (1 + np.exp(-truth))
    clicked = random.random(settings.rows) < truth
    delays = random.exponential(settings.click_delay_ms, settings.rows)
    waits = np.where(clicked, np.minimum(delays, settings.wait_ms), settings.wait_ms)
    warm = int(settings.rows * settings.warm_share)
    cuts = np.linspace(times[warm], times[-1], settings.releases + 1)[1:-1]
    return Stream(
        "clicks", ids.astype(np.float32), clicked.astype(float), times,
        times + waits.astype(np.int64), plain_schema(IDS, IDS), warm,
        tuple(int(cut) for cut in cuts), even_blocks(settings.rows, 100), 10_000, truth,
    )  # fmt: skip


def _draw_ids(settings: ClickSettings, random: np.random.Generator) -> NDArray[np.int64]:
    """Ids (rows, kinds): few are frequent, most are rare."""
    columns = []
    for count, power in (
        (settings.users, 0.6),
        (settings.advertisements, 0.8),
        (settings.sites, 0.8),
    ):
        chances = 1 / np.arange(1, count + 1) ** power
        columns.append(random.choice(count, settings.rows, p=chances / chances.sum()))
    columns.append(columns[2] * CAMPAIGNS + columns[1] % CAMPAIGNS)
    return np.stack(columns, 1).astype(np.int64)


def _drifting_odds(
    settings: ClickSettings,
    random: np.random.Generator,
    times: NDArray[np.int64],
    ids: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The true log-odds of every row, its weights being those of its tick."""
    spread = np.repeat(settings.spread, settings.sizes)
    starts = np.cumsum((0, *settings.sizes[:-1]))
    weights = random.normal(0, spread)
    kept = 0.5 ** (_TICK_MS / settings.half_life_ms)
    fresh = spread * np.sqrt(1 - kept * kept)
    moving = np.zeros(len(spread), bool)
    moving[starts[1] : starts[2]] = moving[starts[3] :] = True  # people and sites hardly change
    change_ms = int(times[-1] * settings.change_at)
    odds = np.empty(len(times))
    tick = times // _TICK_MS
    cuts = np.searchsorted(tick, np.arange(int(tick[-1]) + 2))
    for number, (first, stop) in enumerate(zip(cuts[:-1], cuts[1:], strict=True)):
        if number * _TICK_MS <= change_ms < (number + 1) * _TICK_MS:
            new = np.flatnonzero(random.random(settings.advertisements) < settings.changed)
            new += starts[1]
            weights[new] = random.normal(0, spread[new])
        odds[first:stop] = settings.base + weights[ids[first:stop] + starts].sum(1)
        noise = random.normal(size=int(moving.sum()))
        weights[moving] = kept * weights[moving] + fresh[moving] * noise
    return odds
