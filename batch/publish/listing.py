"""The releases of a project with their roles, as the command line and the api tell of them."""

from __future__ import annotations

from typing import Any

from tidemill.errors import ArtifactError
from tidemill.registry import Registry
from tidemill.roles import RoleChange, Standings


def releases(registry: Registry) -> list[dict[str, Any]]:
    """Every release, oldest first, ready for JSON; `problem` says what is wrong with a damaged one.

    Raises ArtifactError when the journal of roles is damaged; blocks on the disk.
    """
    standings = registry.standings()
    return [_listed(registry, name, standings) for name in registry.names()]


def changes(registry: Registry, release: str | None = None) -> list[RoleChange]:
    """Every change of role, oldest first; of one release if it is named. Raises as above."""
    every = registry.standings().changes
    return [each for each in every if release is None or release in (each.release, each.instead_of)]


def _listed(registry: Registry, name: str, standings: Standings) -> dict[str, Any]:
    found = {"release": name, "role": standings.role(name) or "", "share": standings.share(name)}
    try:
        manifest = registry.manifest(name)
        signed_by = registry.signed_by(name)
    except ArtifactError as error:
        return found | {"problem": str(error)}
    return found | {
        "created_ms": manifest.created_ms, "rows": manifest.rows, "schema": manifest.schema,
        "metrics": manifest.metrics, "run": manifest.run, "dataset": manifest.dataset,
        "parent": manifest.parent, "forced": manifest.forced, "signed_by": signed_by,
    }  # fmt: skip
