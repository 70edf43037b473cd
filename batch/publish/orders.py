"""What an operator may order of a release: to become champion or its challenger, to go."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.errors import InputError
from tidemill.registry import Manifest, Registry
from tidemill.roles import RoleChange, Standings, is_order

_ROLLED_BACK_TO = ("former", "rolled_back")


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it, why, in spite of what stands against it, and when (ms)."""

    by: str
    now_ms: int
    why: str = ""
    force: bool = False


def promote(registry: Registry, release: str, order: Order) -> RoleChange | None:
    """Make a release the champion of its schema; None when it was ordered to be already.

    A release that was retired needs `force`. Raises InputError, and ArtifactError for one that is
    damaged or not signed.
    """
    manifest = _checked(registry, release)

    def decide(standings: Standings) -> RoleChange | None:
        role = _role(standings, release)
        if role == "retired" and not order.force:
            raise InputError("retired", release, "retired", "another role, or --force")
        change = standings.change(release)
        if role == "champion" and change is not None and is_order(change):
            return None
        return RoleChange(
            release, "promoted", manifest.schema, order.now_ms, order.by, order.why,
            forced=role == "retired",
        )  # fmt: skip

    return registry.enter(decide)


def roll_back(
    registry: Registry, schema: str, release: str | None, order: Order
) -> RoleChange | None:
    """Let an older release take the champion's place, which is out then; None when it has it.

    Without a name it is the champion before. Raises InputError, and ArtifactError for one that is
    damaged or not signed.
    """
    target = release or registry.standings().former(schema)
    if target is None:
        raise InputError("no_release", "rollback", "no champion before this one", "one or more")
    manifest = _checked(registry, target)

    def decide(standings: Standings) -> RoleChange | None:
        champion = standings.champion(manifest.schema)
        role = _role(standings, target)
        if champion is not None and champion.release == target:
            return None
        if role not in _ROLLED_BACK_TO and not (role == "retired" and order.force):
            allowed = " or ".join(_ROLLED_BACK_TO) + " (retired with --force; else promote it)"
            raise InputError("role", target, role, allowed)
        return RoleChange(
            target, "rolled_back", manifest.schema, order.now_ms, order.by, order.why,
            forced=role == "retired", instead_of=champion.release if champion else "",
        )  # fmt: skip

    return registry.enter(decide)


def challenge(registry: Registry, release: str, share: float, order: Order) -> RoleChange | None:
    """Set a release beside the champion, to answer this share of the requests; None if it is.

    A release that was retired needs `force`. Raises InputError, and ArtifactError for one that is
    damaged or not signed.
    """
    manifest = _checked(registry, release)

    def decide(standings: Standings) -> RoleChange | None:
        role = _role(standings, release)
        if role == "champion":
            raise InputError("champion", release, "champion", "another role: it answers already")
        if role == "retired" and not order.force:
            raise InputError("retired", release, "retired", "another role, or --force")
        others = [name for name in standings.challengers(manifest.schema) if name != release]
        left = 1 - sum(map(standings.share, others))
        if not 0 <= share < left:
            allowed = f"from 0 (scored only) to less than {left:g}, which other challengers leave"
            raise InputError("share", "share", f"{share:g}", allowed)
        if role == "challenger" and standings.share(release) == share:
            return None
        return RoleChange(
            release, "challenger", manifest.schema, order.now_ms, order.by, order.why,
            forced=role == "retired", share=share,
        )  # fmt: skip

    return registry.enter(decide)


def retire(registry: Registry, schema: str, release: str, order: Order) -> RoleChange | None:
    """Take a release out for good; None when it is. Raises InputError for what answers."""

    def decide(standings: Standings) -> RoleChange | None:
        role = _role(standings, release)
        champions = [standings.champion(schema), standings.champion()]
        if release in [change.release for change in champions if change]:
            allowed = "another role: promote or roll back to another first"
            raise InputError("champion", release, "champion", allowed)
        if role == "retired":
            return None
        change = standings.change(release)
        made_for = change.schema if change else schema
        return RoleChange(release, "retired", made_for, order.now_ms, order.by, order.why)

    return registry.enter(decide)


def _checked(registry: Registry, release: str) -> Manifest:
    """Its manifest, after every file was read: an order for a damaged release is refused."""
    _role(registry.standings(), release)
    manifest = registry.manifest(release)
    for name in manifest.files:
        registry.read(manifest, name)
    return manifest


def _role(standings: Standings, release: str) -> str:
    role = standings.role(release)
    if role is None:
        raise InputError("no_release", "release", release, "one that `tidemill models list` names")
    return role
