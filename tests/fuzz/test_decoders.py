"""Every decoder on damaged real input: short and repeatable, `make fuzz` does it at length."""

import pytest
from harness import Harness, load, names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HARNESSES = [load(name) for name in names()]
TOKENS = [
    b"", b"\0", b"\xff", b"\n", b"{", b"}", b"[", b"]", b'"', b",", b":", b"-", b"1e999", b"NaN",
    b"null", b"true", b"99999999999999999999", b"\\ud800", b"\xc0\x80", b"\xc1", b"\xdd\xff\xff",
    b"\xdf\xff\xff\xff\xff", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"[" * 2_000, b"\x91" * 2_000,
]  # fmt: skip
edits = st.lists(
    st.tuples(
        st.floats(0, 1),  # where, as a share of the length
        st.integers(0, 12),  # how many bytes go
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)),  # what comes instead
    ),
    max_size=4,
)
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def damaged(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """The data after some edits."""
    for share, gone, instead in changes:
        at = int(share * len(data))
        data = data[:at] + instead + data[at + gone :]
    return data


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.name)
def test_real_input_is_decoded(harness: Harness) -> None:
    """The first seed of each harness is good, and every other is good or refused."""
    assert harness.run(harness.seeds()[0])
    for seed in harness.seeds():
        harness.run(seed)


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.name)
@given(data=st.data(), changes=edits)
@settings(max_examples=200, derandomize=True, **PATIENT)
def test_damaged_input_raises_typed_errors_only(
    harness: Harness, data: st.DataObject, changes: list[tuple[float, int, bytes]]
) -> None:
    """Whatever bytes come, they pass whole or are refused by the error that callers expect."""
    seed = data.draw(st.sampled_from(harness.seeds()))
    harness.run(damaged(seed, changes))


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.name)
@given(data=st.binary(max_size=200))
@settings(max_examples=100, derandomize=True, **PATIENT)
def test_any_bytes_raise_typed_errors_only(harness: Harness, data: bytes) -> None:
    """Bytes of no origin are refused, or by chance they pass."""
    harness.run(data)


def test_each_decoder_has_a_harness() -> None:
    """What comes from outside, and what is read back from disk, store and broker."""
    outside = {"cloud_events", "events", "inference", "labels", "score_bodies"}
    behind = {"journal", "manifests", "models", "predictions", "snapshots", "tree_arrays"}
    assert outside | behind == set(names())
