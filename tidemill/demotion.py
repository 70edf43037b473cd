"""What becomes of a model whose answers fail or come too late: it answers nobody any more."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.roles import RoleChange, Standings


@dataclass(frozen=True, slots=True)
class Reason:
    """Who takes a release's place away, why, and when (ms)."""

    by: str
    why: str
    now_ms: int


def demoted(standings: Standings, schema: str, release: str, reason: Reason) -> RoleChange | None:
    """A champion makes room for the one before it, a canary is only scored from now on.

    None where there is nobody before it, and for one that answers nobody: so it is entered once,
    however many processes find the same. Nor is what was just gone back to left again: if that
    fails too, it is not the model's fault, and one release after the other would go.
    """
    champion = standings.champion(schema)
    if champion is not None and champion.release == release:
        target = standings.watched(schema) or standings.former(schema)
        if target is None or champion.action == "rolled_back":
            return None
        return RoleChange(
            target, "rolled_back", schema, reason.now_ms, reason.by, reason.why,
            instead_of=release,
        )  # fmt: skip
    if release in standings.challengers(schema) and standings.share(release) > 0:
        return RoleChange(release, "challenger", schema, reason.now_ms, reason.by, reason.why)
    return None
