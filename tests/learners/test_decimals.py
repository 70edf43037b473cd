"""Numbers are read from text as Python reads them, to the last bit, while other threads run."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learners.decimals
from learners.decimals import read_decimals

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{0,22})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)


def read(*words: str) -> list[str]:
    """The numbers of one span with other text on both sides, as hexadecimals."""
    text = f"7 x={' '.join(words)}\n8".encode()
    spans, counts = np.array([(4, len(text) - 2)]), np.array([len(words)])
    return [number.hex() for number in read_decimals(text, spans, counts).tolist()]


def by_python(*words: str) -> list[str]:
    """What they are."""
    return [float(word).hex() for word in words]


@given(numbers=st.lists(FINITE, max_size=8), form=st.sampled_from([".17g", ".16g", ".6g", ".3e"]))
@settings(max_examples=300, deadline=None)
def test_floats_are_read_as_by_python(numbers: list[float], form: str) -> None:
    """However many digits they were written with."""
    words = [f"{number:{form}}" for number in numbers]
    assert by_python(*words) == read(*words)


@given(words=st.lists(DECIMALS, max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_decimal_is_read_as_by_python(words: list[str]) -> None:
    """Also with more digits than a float64 has, and beyond the largest and the smallest."""
    assert by_python(*words) == read(*words)


@pytest.mark.parametrize(
    "word",
    [
        "0", "-0", "-0.0", "0e999", "5.", ".5", "+1", "1E5", "nan", "-inf", "1e400", "-1e-400",
        "5e-324", "2.2250738585072014e-308", "1.7976931348623157e+308", "1e290",
        "999999999999999999e290", "1e-290", "1.0000000180025095e-35", "9007199254740993",
        "9007199254740995", "0.1000000000000000055511151231257827021181583404541015625",
        "9223372036854775807", "9223372036854775808", "18446744073709551616",
    ],
)  # fmt: skip
def test_the_ends_and_the_middles_are_read_as_by_python(word: str) -> None:
    """The least and the largest, ties, signs, and what is no number of digits."""
    assert by_python(word, "1", word) == read(word, "1", word)


def test_what_models_have_is_not_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventeen digits at any size, whole numbers: all of them are read the fast way."""
    random = np.random.default_rng(1)
    numbers = random.normal(size=2000) * 10.0 ** random.integers(-40, 40, 2000)
    words = [f"{number:.17g}" for number in numbers.tolist()] + ["12", "-1", "4294967295"]
    monkeypatch.delattr(learners.decimals, "_float")
    assert by_python(*words) == read(*words)


def test_spans_are_read_one_after_the_other() -> None:
    """Each with as many numbers as it is to have; none of a span that is to have none."""
    text = b"1 2\n3.5\n\n-4 5"
    spans, counts = np.array([(9, 13), (0, 3), (8, 8), (4, 7)]), np.array([2, 2, 0, 1])
    assert [-4.0, 5.0, 1.0, 2.0, 3.5] == read_decimals(text, spans, counts).tolist()


@pytest.mark.parametrize("space", ["  ", "\t", " \r\n "])
def test_other_spaces_part_numbers_too(space: str) -> None:
    """Slower, but nothing is wrong with it."""
    text = f"1{space}2".encode()
    found = read_decimals(text, np.array([(0, len(text))]), np.array([2]))
    assert [1.0, 2.0] == found.tolist()


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 10**12])
def test_another_count_is_refused(count: int) -> None:
    """With what was found; nothing is made of a size that is only claimed."""
    with pytest.raises(ValueError, match=f"found 2 values; allowed: {count}"):
        read_decimals(b"1 2", np.array([(0, 3)]), np.array([count]))


@pytest.mark.parametrize(
    "word", ["x", "1x", "--1", "1-", "1e", "e5", ".", "-", "1.2.3", "1,2", "0x1"]
)
def test_what_is_no_number_is_refused(word: str) -> None:
    """Wherever it stands."""
    for words in ([word], ["1", word], [word, "1"]):
        with pytest.raises(ValueError, match=f"found b'{word}'; allowed: a number"):
            read(*words)


def test_other_threads_run_meanwhile() -> None:
    """Whoever waits for Python's lock gets it while a long text is read."""
    count = 400_000
    text = b" ".join([b"0.12345678901234567"] * count)
    spans, counts = np.array([(0, len(text))]), np.array([count])
    read("1")  # is compiled
    thread = threading.Thread(target=read_decimals, args=(text, spans, counts))
    turns, before = 0, sys.getswitchinterval()
    sys.setswitchinterval(0.5)  # who has the lock keeps it for longer than reading takes
    try:
        thread.start()
        while thread.is_alive():
            time.sleep(0)
            turns += 1
    finally:
        sys.setswitchinterval(before)
        thread.join()
    assert turns > 50
