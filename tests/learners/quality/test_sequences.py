"""Confidence sequences hold at every moment at once, and their sums do not depend on encoding."""

import math

import numpy as np
import pytest

from learners.quality.sequences import FEWEST, STRETCHES, BlockSums, margin
from tidemill.errors import ArtifactError

GAIN = np.array([0.0, 1.0])


def sums_of(values: np.ndarray, rows: float = 10.0) -> BlockSums:
    """Blocks of equal weight with these sums."""
    sums = BlockSums(2)
    for value in values:
        sums.add(np.array([rows, value]))
    return sums


def test_the_margin_is_that_of_the_paper() -> None:
    """Robbins' normal mixture on one side, tightest around the block it is made for."""
    alpha, best, number = 0.05, 60.0, 100.0
    two_sided = -2 * math.log(2 * alpha)
    rho = (two_sided + math.log(two_sided + 1)) / best
    expected = math.sqrt(
        2 * (number * rho + 1) / (number * rho)
        * math.log(1 + math.sqrt(number * rho + 1) / (2 * alpha))
    )  # fmt: skip
    assert expected == pytest.approx(float(margin(number, alpha, best)))
    per_block = margin(np.arange(1, 2_000), alpha, best) / np.sqrt(np.arange(1, 2_000))
    assert bool((np.diff(per_block) < 0).all())
    others = [float(margin(best, alpha, each)) for each in (best / 8, best, best * 8)]
    assert min(others) == others[1]


def test_a_smaller_chance_needs_a_larger_margin() -> None:
    """And more than that of a single look."""
    margins = [float(margin(50, alpha, 60)) for alpha in (0.2, 0.05, 0.001)]
    assert sorted(margins) == margins
    assert margins[1] > 1.6449


@pytest.mark.parametrize("blocks", ["normal", "skewed", "stretches"])
def test_equal_means_are_rarely_ever_told_apart(blocks: str) -> None:
    """Looked at after every block for long, in no more worlds than alpha allows."""
    random, worlds, length, wrong = np.random.default_rng(3), 300, 400, 0
    numbers = np.arange(1, length + 1)
    margins = margin(numbers, 0.05, 60)
    for _ in range(worlds):
        if blocks == "normal":
            values = random.normal(size=length)
        elif blocks == "skewed":
            values = random.gamma(0.5, size=length) - 0.5
        else:
            values = np.repeat(random.normal(size=length // 4), 4) + random.normal(size=length) / 2
        sums = BlockSums(2)
        for number, value in enumerate(values.tolist(), 1):
            sums.add(np.array([1.0, value]))
            if number >= 30 and sums.mean(GAIN) * number > margins[number - 1] * math.sqrt(
                sums.variance(GAIN)
            ):
                wrong += 1
                break
    assert wrong <= 0.05 * worlds + 2 * math.sqrt(0.05 * 0.95 * worlds)


def test_a_difference_is_found() -> None:
    """Of half a standard deviation within a hundred blocks, nearly always."""
    random = np.random.default_rng(4)
    found = [
        sums_of(random.normal(0.5, 1, 100)).interval(GAIN, 0.05, 60).low > 0 for _ in range(50)
    ]
    assert sum(found) >= 45


def test_the_interval_is_of_the_mean_per_row() -> None:
    """Blocks count by their weight."""
    sums = BlockSums(2)
    for weight in (1.0, 3.0) * 10:
        sums.add(np.array([weight, 2 * weight]))
    found = sums.interval(GAIN, 0.05, 60)
    assert 2 == pytest.approx(found.mean)
    assert found.low == pytest.approx(2, abs=1e-6) and found.high == pytest.approx(2, abs=1e-6)


def test_few_blocks_show_nothing() -> None:
    """The bounds are infinite."""
    found = sums_of(np.arange(FEWEST - 1.0)).interval(GAIN, 0.05, 60)
    assert (-math.inf, math.inf) == (found.low, found.high)
    assert 0 == BlockSums(2).interval(GAIN, 0.05, 60).mean


def test_shocks_that_last_are_no_independent_blocks() -> None:
    """The variance is that of the stretches, not of the blocks in them."""
    random = np.random.default_rng(5)
    values = np.repeat(random.normal(size=100), 4)
    variance = sums_of(values).variance(GAIN)
    assert variance > 3 * values.var() * len(values)


def test_a_run_of_bad_blocks_is_found_after_a_long_time_of_good_ones() -> None:
    """Where the mean over all still says good."""
    random = np.random.default_rng(6)
    good, bad = random.normal(0.5, 1, 500), random.normal(-3, 1, 12)
    before, sums = sums_of(good), sums_of(np.concatenate([good, bad]))
    assert sums.interval(GAIN, 0.05, 60).low > 0
    found = sums.since(before, -GAIN, 0.05 / 144, 18)
    assert found.low > 0
    assert -bad.mean() / 10 == pytest.approx(found.mean)
    assert not before.since(sums_of(good[:-12]), -GAIN, 0.05 / 144, 18).low > 0


def test_what_a_run_shows_is_no_noise() -> None:
    """The larger its jump the surer it is found, however long it lasts and wherever it begins."""
    random = np.random.default_rng(10)
    for good in range(60, 140, 7):
        before = random.normal(1, 0.3, good)
        for length in (6, 16, 40):
            values = np.concatenate([before, random.normal(-2, 0.3, length)])
            found = sums_of(values).since(sums_of(before), -GAIN, 0.05 / 144, 18)
            assert found.low > 0, (good, length)


def test_a_run_that_varies_more_than_before_is_judged_by_itself() -> None:
    """Noise that grew is no jump."""
    random = np.random.default_rng(11)
    before, louder = random.normal(0, 0.1, 100), random.normal(0, 10, 30)
    sums = sums_of(np.concatenate([before, louder]))
    found = sums.since(sums_of(before), GAIN, 0.05, 18)
    assert found.low < 0 < found.high
    assert found.high - found.low > 4 * louder.std() / math.sqrt(30) / 10


def test_a_run_is_rarely_ever_found_where_nothing_has_changed() -> None:
    """Looked at after every block for long, in no more worlds than alpha allows."""
    random, worlds, wrong = np.random.default_rng(12), 200, 0
    for _ in range(worlds):
        sums = sums_of(random.normal(size=60))
        before = sums.copy()
        for value in random.normal(size=120).tolist():
            sums.add(np.array([10.0, value]))
            if sums.since(before, GAIN, 0.05, 30).low > 0:
                wrong += 1
                break
    assert wrong <= 0.05 * worlds + 2 * math.sqrt(0.05 * 0.95 * worlds)


@pytest.mark.parametrize(("before", "after"), [(100, 101), (FEWEST - 1, 100), (100, 100)])
def test_a_run_shows_nothing_alone_or_after_few(before: int, after: int) -> None:
    """However far it lies off."""
    values = np.random.default_rng(7).normal(size=after)
    values[before:] = 1_000
    found = sums_of(values).since(sums_of(values[:before]), GAIN, 0.05, 18)
    assert (-math.inf, math.inf) == (found.low, found.high)


def test_sums_go_on_from_their_bytes() -> None:
    """The same bytes as sums that were never stored."""
    values = np.random.default_rng(8).normal(size=300)
    whole = sums_of(values)
    half = BlockSums.decode(2, sums_of(values[:150]).encode())
    for value in values[150:]:
        half.add(np.array([10.0, value]))
    assert whole.encode() == half.encode()
    assert len(STRETCHES) > 1


def test_other_bytes_are_refused() -> None:
    """They are not guessed at."""
    with pytest.raises(ArtifactError, match="block sums: found 3 bytes"):
        BlockSums.decode(2, b"abc")


def test_columns_can_change_places() -> None:
    """As if they had been added that way."""
    values = np.random.default_rng(9).normal(size=100)
    turned = sums_of(values).transformed(np.diag([1.0, -1.0]))
    assert sums_of(-values).encode() == turned.encode()
