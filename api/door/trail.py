"""What an api tells the audit log: swaps as they come, what is frequent as one line a minute."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import structlog

from api.measuring.measurements import Measurements
from tidemill.audit import AuditLog, Deed, Value
from tidemill.clock import Clock
from tidemill.errors import ArtifactError

LOOK_SECONDS, SUMMARY_MS = 1.0, 60_000
MOST_KINDS = 40
_OTHERS = "others"
_LOG = structlog.get_logger()


class AuditTrail:
    """Collects what happens in one api process, called `actor` in the log, and writes it."""

    def __init__(self, log: AuditLog, measurements: Measurements, clock: Clock, actor: str) -> None:
        self._log, self._measurements, self._clock, self._actor = log, measurements, clock, actor
        self._refused: Counter[str] = Counter()
        self._told_swaps = self._told_snapshots = self._told_artifacts = 0
        self._told_ms = clock.now_ms()
        self._stopping = asyncio.Event()

    def refused(self, cause: str, who: str, address: str) -> None:
        """Count a refused call; `who` is the id of a key, never the key."""
        kind = f"{cause} {who[:40]} {address[:40]}"
        if kind not in self._refused and len(self._refused) >= MOST_KINDS:
            kind = _OTHERS
        self._refused[kind] += 1

    async def run(self) -> None:
        """Write what there is until `stop`, and then all of it."""
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_SECONDS)
            await self.write()
        await self.write(everything=True)

    def stop(self) -> None:
        """Let `run` end; to cancel it could have an entry written twice."""
        self._stopping.set()

    async def write(self, *, everything: bool = False) -> None:
        """Write new swaps, and with `everything` or once a minute the summaries too.

        A disk that does not take it is logged, and what was to be written waits for the next time.
        """
        now = self._clock.now_ms()
        changes = self._measurements.changes_made
        swaps = self._measurements.changes_since(self._told_swaps)
        deeds = [
            Deed(self._actor, "swap", swap.release, {"snapshot": swap.snapshot, "at": swap.time_ms})
            for swap in swaps
        ]
        summarise = everything or now - self._told_ms >= SUMMARY_MS
        counted = self._counted() if summarise else None
        if counted:
            deeds += self._summaries(counted)
        if not deeds:
            self._told_ms = now if summarise else self._told_ms
            return
        try:
            entries = await asyncio.to_thread(self._log.append, now, *deeds)
        except (OSError, ArtifactError) as error:
            _LOG.error("audit_not_written", error=str(error), waiting=len(deeds))
            return
        self._told_swaps = changes
        if counted:
            self._told_snapshots, self._told_artifacts, refused = counted
            self._refused -= refused
            self._told_ms = now
        # Whoever keeps logs elsewhere can tell by the hash when lines are cut off.
        _LOG.info("audit_written", number=entries[-1].number, hash=entries[-1].hash)

    def _counted(self) -> tuple[int, int, Counter[str]]:
        """Snapshots adopted and artifacts refused since the start, and the calls refused since."""
        found = self._measurements
        return found.swaps["snapshot"], found.swaps_refused, Counter(self._refused)

    def _summaries(self, counted: tuple[int, int, Counter[str]]) -> list[Deed]:
        snapshots, artifacts, refused = counted
        newest = list(self._measurements.release_changes)[-1:]
        release, deeds = newest[0].release if newest else "", list[Deed]()
        if adopted := snapshots - self._told_snapshots:
            deeds.append(Deed(self._actor, "snapshots", release, {"count": adopted}))
        if count := artifacts - self._told_artifacts:
            last = self._measurements.refused_swaps[-1]
            detail: dict[str, Value] = {"count": count, "newest": last.artifact, "why": last.error}
            deeds.append(Deed(self._actor, "artifacts_refused", release, detail))
        if refused:
            deeds.append(Deed(self._actor, "refused", "calls", dict(refused)))
        return deeds
