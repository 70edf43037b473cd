"""The safetensors format: read back what was written, refuse what is damaged."""

from __future__ import annotations

import numpy as np
import pytest

from learners.tensor_file import read_tensors, write_tensors
from tidemill.errors import ArtifactError

ARRAYS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "keys": np.array([1, -2], np.int64),
    "nothing": np.empty((0, 4), np.float64),
    "children": np.array([[1, -3], [-1, -2]], np.int32),
    "missing_right": np.array([True, False, True]),
}
WORDS = {"format": "test", "name": "ä"}


def test_reads_back_what_was_written() -> None:
    """Arrays and words are the same; equal input gives equal bytes."""
    data = write_tensors(ARRAYS, WORDS)
    arrays, words = read_tensors(data)
    assert words == WORDS
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
    assert data == write_tensors(dict(reversed(ARRAYS.items())), WORDS)


def test_the_format_is_what_others_read() -> None:
    """The format's own library reads the same arrays, and we read what it writes."""
    numpy = pytest.importorskip("safetensors.numpy")
    for name, array in numpy.load(write_tensors(ARRAYS, WORDS)).items():
        np.testing.assert_array_equal(ARRAYS[name], array)
    arrays, words = read_tensors(numpy.save(ARRAYS, WORDS))
    np.testing.assert_array_equal(ARRAYS["weights"], arrays["weights"])
    assert words == WORDS


def test_refuses_every_shortened_file() -> None:
    """A file cut anywhere is an ArtifactError."""
    data = write_tensors(ARRAYS, WORDS)
    for end in range(len(data)):
        with pytest.raises(ArtifactError):
            read_tensors(data[:end])


@pytest.mark.parametrize(
    "entry",
    [
        b'{"dtype":"F16","shape":[2],"data_offsets":[0,4]}',
        b'{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}',
        b'{"dtype":"F32","shape":[2],"data_offsets":[0,4]}',
        b'{"dtype":"F32","shape":[2],"data_offsets":[0,800]}',
        b'{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}',
        b'{"dtype":"F32","shape":"2","data_offsets":[0,8]}',
        b"[]",
    ],
)
def test_refuses_arrays_that_do_not_fit(entry: bytes) -> None:
    """Another dtype, shape or place than the bytes have is an ArtifactError."""
    header = b'{"a":' + entry + b"}"
    with pytest.raises(ArtifactError, match="tensor"):
        read_tensors(len(header).to_bytes(8, "little") + header + bytes(8))


def test_refuses_a_truth_value_that_is_neither() -> None:
    """A byte of 2 is true to one reader and not to another."""
    data = write_tensors({"a": np.array([True])}, {})
    with pytest.raises(ArtifactError, match="tensor a: found a byte above 1; allowed for BOOL"):
        read_tensors(data[:-1] + b"\2")


def test_arrays_lie_at_multiples_of_their_width() -> None:
    """However their names are sorted: who reads them in place needs them so."""
    arrays, _ = read_tensors(write_tensors({"a": np.ones(3, bool), "b": np.ones(2)}, WORDS))
    assert all(array.flags.aligned for array in arrays.values())
