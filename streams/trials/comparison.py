"""Compares every arm with the champion on labelled examples, and says when a role is to change.

Knows no clock, store or journal: what it decides follows from the examples, their order and the
roles alone, so that a replay decides alike however it is cut. docs/trials.md says what and why.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from learners.prior import PRIOR
from learners.quality.sequences import Floats
from streams.learning import Placed
from streams.trials.pair import RUNS, Pair, contrast
from tidemill.arm_scores import DEFAULT
from tidemill.errors import ArtifactError
from tidemill.label import CORRECTION
from tidemill.tasks import Task
from tidemill.trial import Trial
from tidemill.wire import Example

MOST_WINDOW = 2_000  # blocks whose failures are kept one by one
FEWEST_WINDOW = 2
_PAIR, _PLACE = "pair:", "place"
_GAIN = contrast(gain=1)

Action = Literal["promoted", "rolled_back", "challenger", "unwatched"]
_FIRST: tuple[Action, ...] = ("rolled_back", "challenger", "promoted", "unwatched")


@dataclass(frozen=True, slots=True)
class Arm:
    """A release beside the champion; `watched` is the champion before."""

    release: str
    share: float = 0.0
    watched: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is champion, and who stands beside."""

    champion: str
    arms: tuple[Arm, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The role that a release is to get instead of the one it has, against this champion."""

    action: Action
    release: str
    champion: str
    why: str


class _Place(msgspec.Struct, array_like=True):
    """How far the comparison has come."""

    clock_ms: int
    block: int
    sequences: dict[int, int]
    skipped: list[tuple[int, int]] = []


class Comparison:
    """All pairs of one champion; examples are taken in the log's order, each once."""

    def __init__(self, limits: Trial, task: Task, *, corrected: bool = False) -> None:
        """`corrected`: corrections count as examples, because their weights are made for that."""
        self._limits, self._task, self._corrected = limits, task, corrected
        self.offset = 0
        """The next offset it has not seen."""
        self._skipped: list[tuple[int, int]] = []
        self.clock_ms = self._block = 0
        self._sequences: dict[int, int] = {}
        self._roster = Roster("")
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._gone: set[str] = set()

    @property
    def pairs(self) -> Mapping[str, Pair]:
        """The pairs of those on the roster, by the arm's release."""
        champion = self._roster.champion
        return {a.release: self._pairs[champion, a.release] for a in self._compared}

    @property
    def window(self) -> int:
        """How many blocks the declared window has."""
        wanted = -(-self._limits.window_ms // self._limits.block_ms)
        return min(max(wanted, FEWEST_WINDOW), MOST_WINDOW)

    def follow(self, roster: Roster, kept: Collection[tuple[str, str]] = ()) -> None:
        """Compare these; what is known of pairs that are no more is dropped, but for those kept."""
        self._roster = roster
        wanted = {(roster.champion, arm.release) for arm in self._compared}
        for gone in self._pairs.keys() - wanted.union(kept):
            del self._pairs[gone]
            self._gone.add(_name(gone))
        for champion, release in sorted(wanted - self._pairs.keys()):
            self._pairs[champion, release] = self.empty(release)
            self._gone.discard(_name((champion, release)))

    def leave_out(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Offsets that say nothing: what the champion's learner left out for good.

        Where some of it was counted before that was known, the comparison begins anew.
        """
        new = [each for each in ranges if each not in self._skipped]
        self._skipped = list(ranges)
        if any(start < self.offset for start, _ in new):
            self._pairs = {key: self._begun_anew(pair) for key, pair in self._pairs.items()}

    def take(self, placed: Sequence[Placed]) -> Verdict | None:
        """Take in what it has not had; stops, with `offset` there, at the first verdict."""
        waiting: list[Example] = []
        for offset, example in placed:
            if offset < self.offset:
                continue
            clock_ms = max(self.clock_ms, example.label_time)
            block = clock_ms // self._limits.block_ms
            if block != self._block:
                self._flush(waiting)
                waiting = []
                self.clock_ms, self._block = clock_ms, block
                verdict = self._close()
                if verdict is not None:
                    return verdict
            self.clock_ms, self.offset = clock_ms, offset + 1
            if self._counts(example) and not self._is_skipped(offset):
                waiting.append(example)
        self._flush(waiting)
        return None

    @property
    def is_begun(self) -> bool:
        """True when something is known of a pair: then no example may be left out."""
        return any(pair.since_ms or pair.sums.blocks for pair in self._pairs.values())

    @property
    def is_stale(self) -> bool:
        """True when what is kept of it names pairs that are no more."""
        return bool(self._gone)

    def empty(self, release: str) -> Pair:
        """A pair of which nothing is known."""
        return Pair(self._roster.champion, release, self._task, self.window)

    def promoted(self, release: str) -> None:
        """A verdict is carried out: from now on the champion before is the one compared."""
        before = self._pairs[self._roster.champion, release]
        swapped = before.swapped(self.clock_ms + self._limits.watch_ms)
        self._pairs[swapped.champion, swapped.release] = swapped

    def changes(self) -> tuple[dict[str, bytes], list[str]]:
        """What to set and what to delete where its state is kept."""
        sequences = dict(sorted(self._sequences.items()))
        place = _Place(self.clock_ms, self._block, sequences, self._skipped)
        fields = {_name(key): pair.encode() for key, pair in self._pairs.items()}
        gone = sorted(self._gone - fields.keys())
        return {_PLACE: msgspec.msgpack.encode(place), **fields}, gone

    def saved(self) -> None:
        """What `changes` gave is kept now."""
        self._gone.clear()

    def restore(self, side: Mapping[str, bytes], offset: int) -> None:
        """Go on from what `changes` gave, and this offset. Raises ArtifactError."""
        self.offset = offset
        try:
            if _PLACE in side:
                place = msgspec.msgpack.decode(side[_PLACE], type=_Place)
                self.clock_ms, self._block = place.clock_ms, place.block
                self._sequences, self._skipped = place.sequences, place.skipped
        except msgspec.DecodeError as error:
            raise ArtifactError(f"state of the trial: {error}") from error
        for name, data in side.items():
            if name.startswith(_PAIR):
                pair = Pair.decode(data, self._task, self.window)
                self._pairs[pair.champion, pair.release] = pair
                if name != _name((pair.champion, pair.release)):
                    raise ArtifactError(f"state of the trial: found {pair.release} as {name}")

    def alpha(self) -> float:
        """The chance of a wrong promotion that each challenger has."""
        return self._limits.alpha / max(sum(not arm.watched for arm in self._roster.arms), 1)

    def missing(self, arm: Arm) -> str:
        """What a decision about this arm waits for, in words; nothing when there is enough."""
        pair = self.pairs.get(arm.release)
        if pair is None:
            return "comparing several classes is not supported"
        if arm.watched:
            return ""
        limits, found = self._limits, []
        if not limits.promote:
            found.append("promoted by an operator only")
        if pair.sums.blocks < limits.min_blocks:
            found.append(f"{pair.sums.blocks} of {limits.min_blocks} blocks")
        if pair.counts.rows < limits.min_rows:
            found.append(f"{pair.counts.rows} of {limits.min_rows} examples")
        return ", ".join(found)

    @property
    def best(self) -> float:
        """The number of blocks at which the comparison is the sharpest."""
        return 2.0 * self._limits.min_blocks

    @property
    def _compared(self) -> tuple[Arm, ...]:
        return self._roster.arms if self._task.kind != "multiclass" else ()

    @property
    def _runs(self) -> int:
        """Runs of blocks that begin within the time of the watch: the chance is theirs together."""
        every = max(self.window // RUNS, 1) * self._limits.block_ms
        return -(-self._limits.watch_ms // every)

    def _counts(self, example: Example) -> bool:
        """Notes that it was seen; True for one that says something of champion and arms."""
        if example.sequence <= self._sequences.get(example.partition, 0):
            return False
        self._sequences[example.partition] = example.sequence
        prediction = example.prediction
        if prediction.release == PRIOR or prediction.arm == DEFAULT:
            return False
        return self._corrected or example.kind != CORRECTION

    def _is_skipped(self, offset: int) -> bool:
        return any(start <= offset < end for start, end in self._skipped)

    def _begun_anew(self, before: Pair) -> Pair:
        pair = Pair(before.champion, before.release, self._task, self.window)
        pair.until_ms = before.until_ms
        return pair

    def _flush(self, examples: list[Example]) -> None:
        if examples:
            for pair in self.pairs.values():
                pair.add(examples)

    def _close(self) -> Verdict | None:
        """A block is over: judge every pair anew."""
        pairs = self.pairs
        for pair in pairs.values():
            pair.close()
        found = [self._judge(arm, pairs[arm.release]) for arm in self._compared]
        verdicts = [each for each in found if each is not None]
        # The champion before comes first: while it is better, no other has to be.
        return min(verdicts, key=lambda each: _FIRST.index(each.action), default=None)

    def _judge(self, arm: Arm, pair: Pair) -> Verdict | None:
        if arm.watched:
            return self._judge_watched(pair)
        if arm.share > 0 and (why := self._too_bad(pair)):
            return self._verdict("challenger", pair, f"answers no longer: {why}")
        return self._judge_challenger(pair)

    def _judge_watched(self, pair: Pair) -> Verdict | None:
        if not pair.until_ms:  # nobody knows when its watch began
            pair.until_ms = self.clock_ms + self._limits.watch_ms
        tolerance = self._limits.tolerance
        better = contrast(loss=-tolerance, gain=1 + tolerance)
        found = pair.lately(better, self._limits.alpha / self._runs)
        if found.low > 0:
            why = f"{pair.champion}'s loss is {found.low:.6f} or more above what is allowed"
            return self._verdict("rolled_back", pair, f"{why}, within {self._limits.window}")
        missed = self._missed(pair, contrast(miss=1))
        if missed:
            return self._verdict("rolled_back", pair, f"{pair.champion}: {missed}")
        if self.clock_ms >= pair.until_ms:
            why = f"not shown to be better than {pair.champion} within {self._limits.watch}"
            return self._verdict("unwatched", pair, why)
        return None

    def _judge_challenger(self, pair: Pair) -> Verdict | None:
        limits, counts = self._limits, pair.counts
        enough = pair.sums.blocks >= limits.min_blocks and counts.rows >= limits.min_rows
        if not (limits.promote and enough) or self._fails(pair):
            return None
        found = pair.interval(_GAIN, self.alpha(), self.best)
        if not found.low > 0 or self._missed(pair, contrast(arm_miss=1)):
            return None
        why = (
            f"a loss {found.mean:.6f} below {pair.champion}'s over {counts.rows} examples in "
            f"{pair.sums.blocks} blocks, {found.low:.6f} or more at alpha {self.alpha():.4g}"
        )
        return self._verdict("promoted", pair, why)

    def _too_bad(self, pair: Pair) -> str:
        """Why a canary must answer nobody any more; else nothing."""
        if failing := self._fails(pair):
            return failing
        tolerance = self._limits.tolerance
        worse = contrast(loss=-tolerance, gain=-1)
        found = pair.lately(worse, self._limits.alpha / self._runs)
        if found.low > 0:
            return f"its loss is {found.low:.6f} or more above what is allowed"
        return self._missed(pair, contrast(arm_miss=1))

    def _fails(self, pair: Pair) -> str:
        """Why too many of its scores are missing, when they are."""
        limit, (failed, asked) = self._limits.errors, pair.failures
        if limit is None or asked < self._limits.min_rows or failed <= limit * asked:
            return ""
        return f"found {failed} failures in {asked} examples; allowed: {limit:.2%}"

    def _missed(self, pair: Pair, mean: Floats) -> str:
        """Why the mean score is too far from the mean label, where that is declared."""
        limit = self._limits.calibration
        if limit is None:
            return ""
        allowed = limit * pair.spread
        found = pair.lately(mean, self._limits.alpha / self._runs / 2)
        beyond = max(found.low, -found.high)
        if not beyond > allowed:
            return ""
        said = f"the mean score misses the mean label by {beyond:.6f} or more"
        return f"{said}; allowed: {allowed:.6f}"

    def _verdict(self, action: Action, pair: Pair, why: str) -> Verdict:
        return Verdict(action, pair.release, pair.champion, why)


def _name(key: tuple[str, str]) -> str:
    return f"{_PAIR}{key[0]}:{key[1]}"
