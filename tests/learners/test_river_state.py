"""A River state holds no code: only allowed names are looked up, whatever its bytes say."""

from __future__ import annotations

import functools
import random
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift, stats
from river_estimators import classifiers

from learners.river_adapter.decoding import decode
from learners.river_adapter.encoding import NotEncodable, encode
from tidemill.errors import ArtifactError


def forged(*records: Any, root: Any = (0, 0)) -> bytes:
    """A state of these records."""
    return msgspec.msgpack.encode([list(root), [list(record) for record in records]])


def test_containers_and_numbers_come_back_as_they_were() -> None:
    """Every kind of value and container, nested and shared, is rebuilt with its order."""
    shared = [1, -1.5, "text", b"bytes", None, True, 2**100, -(2**70), float("inf")]
    found = {
        "shared": [shared, shared],
        (1, ("a", 2.0)): {3, 1, 2},
        "frozen": frozenset({"x", "y"}),
        "queue": deque([1, 2], 5),
        "ordered": OrderedDict(b=1, a=2),
        "counter": Counter("hello"),
        "default": defaultdict(float, x=1.0),
        "partial": functools.partial(int, "11", base=2),
        "scalar": np.float32(1.5),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
    }
    copy: Any = decode(encode(found))
    assert copy["shared"][0] is copy["shared"][1]
    np.testing.assert_array_equal(found.pop("array"), copy.pop("array"))
    assert copy.pop("partial")() == found.pop("partial")() == 3
    assert found == copy
    assert list(found) == list(copy)
    assert copy["queue"].maxlen == 5
    assert copy["default"]["new"] == 0.0


def test_generators_go_on_where_they_were() -> None:
    """Python's and NumPy's random numbers continue."""
    pair = [random.Random(3), np.random.RandomState(3)]
    pair[0].gauss(0, 1)
    pair[1].standard_normal()
    copy: Any = decode(encode(pair))
    assert pair[0].gauss(0, 1) == copy[0].gauss(0, 1)
    assert pair[1].standard_normal(3).tolist() == copy[1].standard_normal(3).tolist()


def test_cycles_and_very_long_chains_are_rebuilt() -> None:
    """A list that holds itself, and a chain far deeper than the interpreter's stack."""
    ring: list[Any] = []
    ring.append(ring)
    copy: Any = decode(encode(ring))
    assert copy[0] is copy
    chain: list[Any] = []
    for _ in range(50_000):
        chain = [chain]
    state = encode(chain)
    assert encode(decode(state)) == state


def test_equal_sets_give_equal_bytes() -> None:
    """The order in which a set was filled does not show."""
    assert encode({"a", "b", "c"}) == encode({"c", "b", "a"})
    assert encode(set(range(100))) == encode(set(range(99, -1, -1)))


def test_what_has_no_bytes_is_named() -> None:
    """Functions and classes from elsewhere, and sets of objects, cannot be saved."""
    for found, name in ((open, "io.open"), (object(), "builtins.object"), (len, "builtins.len")):
        with pytest.raises(NotEncodable, match=name):
            encode([found])
    with pytest.raises(NotEncodable, match="a set of objects"):
        encode({stats.Mean()})
    with pytest.raises(NotEncodable, match="an array of object"):
        encode(np.array([None]))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("pickle", "loads"),
        ("river.datasets.base", "RemoteDataset"),
        ("river.stream.iter_csv", "iter_csv"),
        ("river.utils.pretty", "os.system"),
        ("river.base.base", "inspect.getattr_static"),
        ("river.stats.mean", "Mean.update.__globals__"),
        ("river.stats.mean", "__builtins__"),
        ("river.neighbors.ann.swinn", "SWINN"),
        ("river.linear_model.nothing", "Nothing"),
        ("river.tree.base", "abc.ABC"),
        ("riverbed.evil", "run"),
        ("river..os", "system"),
        (".river", "x"),
    ],
)
def test_no_other_name_is_looked_up(module: str, name: str) -> None:
    """Names outside River's computing packages, or imported into them, are an ArtifactError."""
    for record in (["name", module, name], ["object", [0, 1], [1], [3], None, None]):
        with pytest.raises(ArtifactError, match="River state"):
            decode(forged(record, ["name", module, name]))


@pytest.mark.parametrize(
    "records",
    [
        [["object", [0, 0], [1], None, None, None]],
        [["object", 3, [1], None, None, None]],
        [["list", [0, 7]]],
        [["list", [0, -1]]],
        [["list", [9, 1]]],
        [["nothing"]],
        [[]],
        [["dict", 1]],
        [["dict", [0, 0], 1]],
        [["list", [6, [0, 0], "append"]]],
        [["list", [6, [0, 1], "__reduce__"]], ["object", [0, 2], [1], [3], None, None]],
        [["array", "<f8", [1 << 40], b"12345678"]],
        [["array", "O", [1], b"12345678"]],
        [["array", "<f8,<f8", [1], b"1234567812345678"]],
        [["array", "<f8", [-1, -1], b"12345678"]],
        [["random", 3, b"1234", None]],
        [["random_state", b"1234", 3, 0, 0.0]],
        [["made", [0, 1], [], None], ["name", "builtins", "dict"]],
        [["deque", -5]],
        [["partial", 3, [1]]],
        [["default", 3]],
    ],
)
def test_forged_records_are_refused(records: list[Any]) -> None:
    """Wrong kinds, references, shapes and makers are an ArtifactError."""
    with pytest.raises(ArtifactError, match="River state"):
        decode(forged(*records))


def test_a_compiled_class_is_not_told_to_set_aside_the_machine_s_memory() -> None:
    """Lengths beyond reason are refused before River's compiled part sees them."""
    kind = ["name", "river._river_rust.stats", "RsRollingQuantile"]
    with pytest.raises(ArtifactError, match="River state"):
        decode(forged(["object", [0, 1], [1, 0.5, 1 << 60], None, None, None], kind))


def test_deep_nesting_and_false_lengths_are_refused() -> None:
    """A tower of tuples, or a list that claims four billion elements, is an ArtifactError."""
    tower: Any = 1
    for _ in range(400):
        tower = [1, tower]
    deep = b"\x92" + b"\x92\x01" * 100_000 + b"\x01\x90"
    for state in (deep, b"\x92\x01\xdd\xff\xff\xff\xff", forged(["list", tower])[:-3]):
        with pytest.raises(ArtifactError, match="River state"):
            decode(state)


def learned(name: str) -> bytes:
    """A small estimator's state, some parts of it compiled."""
    estimator = classifiers()[name]()
    for number in range(120):
        row = {"a": number % 7 - 3.0, "b": number % 5 - 2.0}
        estimator.learn_one(row, number % 7 > 3)
    return encode([estimator, drift.ADWIN(), stats.Quantile(0.5), stats.RollingIQR(5)])


STATES = {name: learned(name) for name in ("logistic", "adaptive_tree")}


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(sorted(STATES)))
def test_a_damaged_state_never_crashes(data: st.DataObject, name: str) -> None:
    """Bytes changed, cut out or repeated give an estimator or an ArtifactError, nothing else."""
    state = bytearray(STATES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(state) - 1))
        action = data.draw(st.sampled_from(["set", "cut", "repeat"]))
        if action == "set":
            state[place] = data.draw(st.integers(0, 255))
        else:
            length = data.draw(st.integers(1, 12))
            part = state[place : place + length]
            state[place : place + length] = b"" if action == "cut" else part + part
    try:
        decode(bytes(state))
    except ArtifactError:
        pass


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_read(state: bytes) -> None:
    """Bytes that are no state are an ArtifactError."""
    try:
        decode(state)
    except ArtifactError:
        pass
