"""Labels that became known, as events: what label rates are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from features.admission import Admitted
from features.columns import field_columns
from tidemill.declaration import LABEL_VALUE
from tidemill.label import CORRECTION
from tidemill.sources import Event
from tidemill.wire import Example


class LabelEvents:
    """Turns examples into the columns of the label's event (`Project.label_event`).

    Its time is the label's, so that a rate never knows a label before it was said.
    """

    def __init__(self, event: Event) -> None:
        self._event = event
        fields = [(f.name, f.type | None, None) for f in event.columns if f.name != LABEL_VALUE]
        struct = msgspec.defstruct(
            "LabelledRequest", [*fields, ("time", int, 0), (LABEL_VALUE, float, 0.0)]
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(struct)

    def admitted(self, examples: Sequence[tuple[int, Example]]) -> Admitted:
        """Examples with their offsets, in the log's order.

        Left out are those without their request, and corrections: a rate counts a prediction once.
        """
        records: list[Any] = []
        offsets: list[int] = []
        for offset, example in examples:
            if not example.prediction.request or example.kind == CORRECTION:
                continue
            record = self._decoder.decode(example.prediction.request)
            record.time, record.value = example.label_time, float(example.label)
            records.append(record)
            offsets.append(offset)
        return Admitted(
            field_columns(self._event.columns, records), np.array(offsets, dtype=np.int64)
        )
