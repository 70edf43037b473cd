"""Which examples the learner has put aside: nobody else is to learn them either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.declaration import Project
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.datasets.dataset import Quarantined


async def quarantined(project: Project, settings: Settings) -> Quarantined:
    """What the learner has put aside, as the store says; nothing where no store is set.

    Raises StoreUnavailable: a model of poisoned examples is worse than none.
    """
    from batch.datasets.dataset import Quarantined
    from cli.wiring import connect_store, names_of
    from features.plan import compile_plan
    from streams.learn import Learn
    from streams.quarantine import Halt
    from streams.snapshots import newest_snapshot

    if settings.redis is None:
        return Quarantined()
    names = names_of(compile_plan(project), settings)
    async with connect_store(settings) as (_, store):
        newest = await newest_snapshot(store, names, project.learner.name)
        halt = Halt.found_in(await store.side(names.side(Learn.name, 0)))
    skipped = newest.skipped if newest else []
    return Quarantined(tuple(skipped), halt.start if halt else None)
