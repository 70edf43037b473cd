"""Labels as producers write them to the topic and as callers post them, alone or in a list."""

from fuzzed_project import CLOCK, LABELS, LATEST_MS, SKEW_MS

from api.resources.labels import LabelInbox
from features.decoding import decode_label
from tidemill.errors import InputError

ALLOWED = (InputError,)
# Without a producer and a store of keys: nothing is accepted here, only read.
INBOX = LabelInbox(None, None, CLOCK, SKEW_MS, lambda: "binary")


def seeds() -> list[bytes]:
    """Single ones and a list."""
    return [*LABELS, b"[" + b",".join(LABELS) + b"]", b'{"key":"k","value":-2.5,"time":1}']


def one(data: bytes) -> None:
    """The inbox takes what the join would take, and nothing else."""
    posted = INBOX.decode(data)
    for label in posted:
        label.key.encode()
        assert label.value in (0, 1) and 0 < label.time <= LATEST_MS
    if data.lstrip()[:1] == b"{":
        assert [decode_label(data, LATEST_MS)] == posted
        assert posted[0] == decode_label(data, LATEST_MS, "number")
