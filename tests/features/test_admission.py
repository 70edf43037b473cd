"""Which events count is decided by the log alone."""

import msgspec
import pytest

from features.admission import RecentIds
from features.decoding import decode_together

WINDOW = 50


def test_a_duplicate_is_told_by_the_window_alone() -> None:
    """Whoever begins a window before an offset decides about it as one who read everything."""
    offsets = [0, 40, 80, 140, 141, 260]
    whole = RecentIds(WINDOW)
    expected = [whole.is_duplicate("a", offset) for offset in offsets]
    assert [False, True, True, False, True, False] == expected
    for begin in range(len(offsets)):
        late = RecentIds(WINDOW)
        seen = [o for o in offsets[:begin] if o >= offsets[begin] - WINDOW]
        for offset in seen:
            late.is_duplicate("a", offset)
        found = [late.is_duplicate("a", offset) for offset in offsets[begin:]]
        assert expected[begin:] == found


DECODER = msgspec.json.Decoder(list[dict[str, object]])
CUT = {
    "an object in two bodies, two in one": [b'{"a":1', b'"b":2}', b'{"a":1},{"a":2}'],
    "a string over two bodies": [b'{"a":"}', b'{"}', b'{"a":1},{"a":2}'],
    "braces in strings": [b'{"a":"x}', b'{","b":1}', b'{"a":1},{"a":2}'],
    "nothing": [b"", b'{"a":1},{"a":2}'],
    "a list": [b"[]"],
    "an object within another": [b'{"a":{"b":1}', b'{"c":1}}', b'{"a":1},{"a":2}'],
    "two in one": [b'{"a":1},{"a":2}'],
}


@pytest.mark.parametrize("case", CUT)
def test_bodies_that_are_not_one_object_each_are_not_decoded_together(case: str) -> None:
    """However bad bodies complete each other, none of them passes for a good one."""
    assert decode_together(DECODER, CUT[case]) is None


def test_good_bodies_decoded_together_are_those_decoded_one_by_one() -> None:
    """Each body gives its own object."""
    bodies = [b'{"a":1}', b'{ "b" : "},{" }', b'{"c":"\\n"}']
    assert [msgspec.json.decode(body) for body in bodies] == decode_together(DECODER, bodies)
