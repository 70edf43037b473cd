"""The rows a dataset is made of, a piece at a time: from the archive, or from an older dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.datasets.hashing import MISSING, hash_numbers, hash_strings, mixed
from batch.datasets.once import Counted, Range, only
from batch.datasets.parts import FACTS, Rows, rows_of
from batch.training_set import TrainingSet, some
from features.archive.events import request_columns
from features.archive.files import stream_files
from features.plan import FeaturePlan
from tidemill.dataset_rule import DatasetRule
from tidemill.expressions import Expression, truth
from tidemill.topics import EXAMPLES

PIECE_ROWS = 262_144
_WIDE = (
    "time", "key", "vector", "schema", "label", "label_time", "score", "baseline", "offset",
    "prediction_id", "scored_ms", "sampled",
)  # fmt: skip
ENTITY = "entity"
"""The fact, in rows that are to be matched, that is equal for equal values."""


@dataclass
class Tally:
    """What was counted on the way; `newest_ms`: the last request's time of what was taken."""

    backfilled: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    rows: int = 0
    newest_ms: int = -(2**63)
    oldest_ms: int = 2**63 - 1

    def saw(self, rows: Rows) -> None:
        """Count rows that were taken."""
        self.rows += len(rows)
        if len(rows):
            times = rows.column("time")
            self.newest_ms = max(self.newest_ms, int(times.max()))
            self.oldest_ms = min(self.oldest_ms, int(times.min()))


class Chooser:
    """Keeps the rows for which the rule's filter is true, and knows whom to match them with."""

    def __init__(self, plan: FeaturePlan, rule: DatasetRule) -> None:
        self._plan, self._rule = plan, rule
        features = set(plan.schema.names)
        fields = {each.name: each for each in plan.project.request.columns}
        self._fields = [fields[name] for name in sorted(rule.names & fields.keys() - features)]

    @property
    def asks_requests(self) -> tuple[str, ...]:
        """The fields of the request that the rule reads, features aside."""
        return tuple(each.name for each in self._fields)

    def chosen(self, rows: Rows, requests: pa.ChunkedArray | None, tally: Tally) -> Rows:
        """The rows to take."""
        where, match = self._rule.where, self._rule.match
        if isinstance(where, Expression) or match is not None:
            columns = self._columns(rows, requests)
            if match is not None:
                keys = _entity(columns, match.by)
                facts = rows.facts.append_column(ENTITY, pa.array(keys))
                rows = Rows(facts, rows.vectors)
            if isinstance(where, Expression):
                kept = truth(where.evaluate(columns, len(rows)))
                tally.dropped += int((~kept).sum())
                rows = rows.take(kept)
        tally.saw(rows)
        return rows

    def _columns(self, rows: Rows, requests: pa.ChunkedArray | None) -> dict[str, NDArray[Any]]:
        """What the rule may read."""
        columns = judged_columns(self._plan, rows)
        columns["time"] = rows.column("time")
        if requests is not None and self._fields:
            asked, places = request_columns(self._plan, requests.to_pylist())
            for each in self._fields:
                text = each.type is str
                column = np.full(len(rows), None if text else np.nan, object if text else float)
                column[places] = asked[each.name]
                columns[each.name] = column
        return columns


def judged_columns(plan: FeaturePlan, rows: Rows) -> dict[str, NDArray[Any]]:
    """Features, score and label: what rules for bad cases read."""
    columns: dict[str, NDArray[Any]] = {
        name: rows.vectors[:, place] for place, name in enumerate(plan.schema.names)
    }
    return columns | {"score": rows.column("score"), "label": rows.column("label")}


def from_archive(
    training: TrainingSet, files: Sequence[Path], counted: Counted, chooser: Chooser, tally: Tally
) -> Iterator[Rows]:
    """The examples that count, with the vectors of the declaration, a piece at a time."""
    plan = training.plan
    asked = bool(chooser.asks_requests) or counted.schemas - {plan.schema.hash}
    columns = (*_WIDE, "request") if asked else _WIDE
    from_ms = counted.range.from_ms
    for table in stream_files(files, EXAMPLES, columns, from_ms, PIECE_ROWS):
        table = only(table, counted.counts(table))
        found = training.vectors(table)
        tally.backfilled += found.computed
        if len(found.rows) < len(table):
            out = np.setdiff1d(np.arange(len(table)), found.rows)
            tally.left_out.update(_lacking(plan, some(table, out)))
        table = some(table, found.rows)
        arrays = [table["sampled" if n == "weight" else n] for n in FACTS.names]
        rows = Rows(pa.Table.from_arrays(arrays, schema=FACTS), found.vectors)
        yield chooser.chosen(rows, table["request"] if asked else None, tally)


def from_dataset(
    parts: Iterable[pa.Table], range_: Range, chooser: Chooser, tally: Tally
) -> Iterator[Rows]:
    """The rows of a dataset's files that lie in the range, a piece at a time."""
    low = -(2**63) if range_.from_ms is None else range_.from_ms
    high = 2**63 - 1 if range_.to_ms is None else range_.to_ms
    for part in parts:
        for start in range(0, len(part), PIECE_ROWS):
            rows = rows_of(part.slice(start, PIECE_ROWS))
            times = rows.column("time")
            yield chooser.chosen(rows.take((times >= low) & (times < high)), None, tally)


def _lacking(plan: FeaturePlan, examples: pa.Table) -> Iterator[str]:
    """For each example that cannot be brought to the declaration, the first field it lacks."""
    fields = [each for each in plan.project.request.columns if not each.optional]
    for body in examples["request"].to_pylist():
        try:
            request = msgspec.json.decode(body or b"")
        except msgspec.DecodeError:
            yield "request"
            continue
        missing = (each.name for each in fields if request.get(each.name) is None)
        yield next(missing, "request")


def _entity(columns: Mapping[str, NDArray[Any]], by: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of the values of these columns together."""
    found: NDArray[np.uint64] = np.full(len(columns["label"]), np.uint64(1))
    for name in by:
        column = columns[name]
        if column.dtype == object:
            known = np.array([value is not None for value in column], np.bool_)
            texts = pa.chunked_array([pa.array(column, pa.string())])
            found = mixed(found, np.where(known, hash_strings(texts), MISSING))
        else:
            found = mixed(found, hash_numbers(column.astype(np.float64)))
    return found
