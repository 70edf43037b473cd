"""Makes a dataset: archive (or an older dataset) → rows in the order of their labels → files.

Three passes, none of which holds more than a piece in memory: which examples count (`once`), the
rows with their vectors, chosen and brought into order (`taken`, `sorted_rows`), the files with
their statistics (`sample`, `parts`). The same input gives the same bytes and so the same id.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Quarantined
from batch.datasets.manifest import DatasetManifest
from batch.datasets.once import SAMPLED, Range, count_once, newest_times
from batch.datasets.parts import PartWriter, Rows
from batch.datasets.sample import Cut, Matched, Sampler, match
from batch.datasets.sorted_rows import SortedRows, bounds_of, bucket_rows
from batch.datasets.statistics import Statistics
from batch.datasets.store import DatasetStore
from batch.datasets.taken import Chooser, Tally, from_archive, from_dataset
from batch.datasets.written import Written, moment
from batch.progress import Progress, Silent
from batch.training_set import TrainingSet
from features.archive.files import committed_files
from tidemill.dataset_rule import DatasetRule
from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError, InputError, NoExamples
from tidemill.expression_text import expression_text
from tidemill.topics import EXAMPLES

NO_EXAMPLES, MISSING_FIELDS, SINGLE_CLASS = "no_examples", "missing_fields", "single_class"
"""Causes of InputError: why no dataset can be made; the first and the last are NoExamples."""


def build(
    training: TrainingSet,
    rule: DatasetRule,
    store: DatasetStore,
    quarantined: Quarantined | None = None,
    progress: Progress | None = None,
) -> DatasetManifest:
    """Make the dataset of a rule; one that is there already is returned as it is.

    With the default rule its rows are those of `extract`. Raises InputError when there is nothing
    to make it of (`cause` is one of the above), DeclarationError for a rule that the project cannot
    follow, ArtifactError for a damaged parent, OSError when the disk is full; then nothing is left
    behind.
    """
    training.plan.project.check_dataset(rule)
    with store.staging() as staging:
        making = _Making(training, rule, staging, progress or Silent())
        if rule.parent is None:
            manifest = making.from_archive(quarantined or Quarantined())
        else:
            manifest = making.from_parent(store, store.manifest(rule.parent))
        return store.publish(staging, manifest)


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a manifest says of where the rows come from; requests up to `matured_ms` are final."""

    rows: int
    matured_ms: int
    offsets: dict[str, int]


class _Making:
    """One dataset in the making, in a folder that nobody reads."""

    def __init__(
        self, training: TrainingSet, rule: DatasetRule, staging: Path, progress: Progress
    ) -> None:
        self._training, self._plan, self._rule = training, training.plan, rule
        self._staging, self._progress, self._tally = staging, progress, Tally()
        self._scratch = staging / "scratch"
        self._scratch.mkdir()
        self._chooser = Chooser(self._plan, rule)

    def from_archive(self, quarantined: Quarantined) -> DatasetManifest:
        """Of the archive's examples."""
        project = self._plan.project
        files = committed_files(self._training.home, project.name, EXAMPLES)
        range_ = self._range(*(newest_times(files) if self._relative else (0, 0)))
        files = committed_files(self._training.home, project.name, EXAMPLES, range_.from_ms)
        self._progress.start("look at the archive", 1)
        counted = count_once(files, range_, quarantined, self._scratch)
        self._progress.advance()
        if not counted.rows:
            raise self._nothing()
        rows_bucket = bucket_rows(len(self._plan.schema.names))
        bounds = bounds_of(counted.label_times, SAMPLED, rows_bucket, counted.rows)
        pieces = from_archive(self._training, files, counted, self._chooser, self._tally)
        origin = _Origin(counted.rows, self._matured(counted.labelled_ms), counted.offsets)
        return self._made(pieces, bounds, origin)

    def from_parent(self, store: DatasetStore, parent: DatasetManifest) -> DatasetManifest:
        """Of the rows of an older dataset."""
        if parent.schema != self._plan.schema.hash:
            allowed = f"a dataset of this declaration ({self._plan.schema.hash})"
            raise InputError("other_schema", "parent", f"{parent.id} of {parent.schema}", allowed)
        for name in self._chooser.asks_requests:
            raise DeclarationError("DatasetRule.where", name, "features: a dataset has no requests")
        range_ = self._range(parent.to_ms, None)
        matured = parent.matured_ms if self._rule.matured else 2**63 - 1
        range_ = Range(range_.from_ms, min(matured, range_.to_ms or 2**63 - 1))
        pieces = from_dataset(store.parts(parent), range_, self._chooser, self._tally)
        # Where a learner goes on after rows that end earlier, the parent's manifest cannot say.
        offsets = {} if self._rule.ends_early else parent.offsets
        origin = _Origin(parent.rows, parent.matured_ms, offsets)
        return self._made(pieces, store.first_label_times(parent)[1:], origin)

    @property
    def _relative(self) -> bool:
        """True when the range depends on what is there."""
        return self._rule.last is not None or self._rule.matured

    def _range(self, end_ms: int, labelled_ms: int | None) -> Range:
        """The rule's range, for examples that end there and were labelled up to then."""
        rule, from_ms, to_ms = self._rule, self._rule.from_ms, self._rule.to_ms
        if rule.matured and labelled_ms is not None:
            matured = self._matured(labelled_ms)
            to_ms = matured if to_ms is None else min(to_ms, matured)
        if rule.last is not None:
            end = end_ms if to_ms is None else min(to_ms, end_ms)
            from_ms = end - duration_ms("DatasetRule.last", rule.last)
        return Range(from_ms, to_ms)

    def _matured(self, labelled_ms: int) -> int:
        """Requests before this have their last label, when labels came up to then."""
        label = self._plan.project.label
        return labelled_ms - label.wait_ms - label.corrections_ms

    def _made(
        self, pieces: Iterator[Rows], bounds: NDArray[np.int64], origin: _Origin
    ) -> DatasetManifest:
        rows = SortedRows(self._scratch / "rows", bounds)
        self._progress.start("read the examples", origin.rows)
        for piece in pieces:
            rows.add(piece)
            self._progress.advance(len(piece))
        if not self._tally.rows:
            raise self._nothing()
        start = self._tally.newest_ms + 1 - self._plan.project.gate.holdout_ms
        cut = Cut(start - self._rule.gap_ms, start, self._tally.newest_ms + 1)
        matched: Sequence[Matched] = ()
        if self._rule.match is not None:
            matched = match(self._rule, rows.facts(), self._tally.rows, cut, self._scratch)
        sampler = Sampler(self._plan, self._rule, cut, matched)
        written = self._write(rows, sampler, Written(self._plan, cut, origin.matured_ms))
        return self._manifest(written, origin)

    def _write(self, rows: SortedRows, sampler: Sampler, written: Written) -> Written:
        names = self._plan.schema.names
        categorical = [names.index(name) for name in self._plan.project.categorical_names]
        statistics = Statistics(names, categorical, self._tally.rows)

        def see(some: Rows) -> None:
            statistics.add(some)
            written.add(some)

        writer = PartWriter(self._staging, self._plan.schema.hash, names, see)
        self._progress.start("write the dataset", self._tally.rows)
        with closing(writer):
            for some in rows:
                writer.add(sampler.drawn(some))
                self._progress.advance(len(some))
            writer.finish()
        shutil.rmtree(self._scratch)
        written.statistics = statistics.found()
        written.parts, written.part_rows = writer.parts, writer.part_rows
        if self._rule.samples and len(written.classes) < 2:
            found = f"only label {', '.join(written.classes) or 'none'}"
            raise NoExamples(SINGLE_CLASS, "dataset", found, "both labels, to choose among them")
        return written

    def _manifest(self, written: Written, origin: _Origin) -> DatasetManifest:
        project, tally = self._plan.project, self._tally
        rules = project.bad_cases if self._rule.bad_cases != 1 else ()
        return DatasetManifest(
            id="",
            project=project.name,
            schema=self._plan.schema.hash,
            features=list(self._plan.schema.names),
            rule=self._rule.as_data(),
            bad_cases={each.reason: expression_text(each.when) for each in rules},
            parent=self._rule.parent or "",
            created_ms=0,
            from_ms=tally.oldest_ms,
            to_ms=tally.newest_ms + 1,
            matured_ms=min(origin.matured_ms, tally.newest_ms + 1),
            rows=written.rows,
            classes=written.classes,
            class_weights=written.class_weights,
            split=written.split(),
            statistics=written.statistics,
            offsets=origin.offsets,
            backfilled=tally.backfilled,
            left_out=dict(sorted(tally.left_out.items())),
            dropped=tally.dropped,
            parts=written.parts,
            part_rows=written.part_rows,
            warnings=written.warnings(),
        )

    def _nothing(self) -> InputError:
        """Why there is no row: the range, the filter, or what the requests lack."""
        left_out = self._tally.left_out
        if left_out:
            lacking = ", ".join(sorted(left_out))
            found = f"{left_out.total()} examples, all logged without {lacking}"
            return InputError(MISSING_FIELDS, "dataset", found, "requests with every field")
        if self._tally.dropped:
            found = f"none of {self._tally.dropped} examples that it is true for"
            return NoExamples(NO_EXAMPLES, "where", found, "a filter that leaves some")
        found, allowed = "no labelled example", "a range that has some"
        files = committed_files(self._training.home, self._plan.project.name, EXAMPLES)
        if files:
            end, labelled = newest_times(files)
            until = [f"the newest request in the archive is of {moment(end - 1)}"]
            if self._rule.matured:
                until += [f"labels are final up to {moment(self._matured(labelled))}"]
            allowed = f"{allowed}; {', '.join(until)}"
        return NoExamples(NO_EXAMPLES, "dataset", found, allowed)
