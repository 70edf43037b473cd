"""`tidemill replay`: rebuild past predictions from log and releases, and say what differs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cli.command import USER_ERROR, AsJson, ProjectFile, errors_as_exit_codes, prepare
from tidemill.declaration import Project
from tidemill.settings import Settings

if TYPE_CHECKING:
    from batch.replay.replay import Newest
    from batch.replay.report import Number, Replayed, Report
    from features.plan import FeaturePlan

DIFFERS = 6
SHOWN = 20
"""Features that differ and are shown to a person; `--json` has them all."""


def replay(
    file: ProjectFile,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of predictions.")],
    as_json: AsJson = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin at each release, whatever is kept on the way.")
    ] = False,
    seconds: Annotated[
        int | None, typer.Option(help="End without an answer after so long.", min=1)
    ] = None,
) -> None:
    """Rebuild features, weights and scores of past predictions, and score them by now's weights.

    Exit codes: 0 all are what was logged, bit for bit, 1 failed, 2 an id that is not archived, or a
    mistake in project or settings, 6 something differs or cannot be rebuilt.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from cli.logs import log_to_stderr

        log_to_stderr()
        if seconds is not None:
            signal.alarm(seconds)  # ends the process, whatever it is doing
        found = _replay(project, settings, ids, fresh)
        typer.echo(msgspec.json.encode(found).decode() if as_json else "\n".join(in_words(found)))
        if found.unknown:
            _say_unknown(project, settings, found.unknown)
            raise typer.Exit(USER_ERROR)
        raise typer.Exit(0 if found.exact else DIFFERS)


def _replay(project: Project, settings: Settings, ids: list[str], fresh: bool) -> Report:
    from batch.replay.checkpoints import Checkpoints
    from batch.replay.replay import Sources
    from batch.replay.replay import replay as run
    from cli.compute import rules
    from cli.wiring import registry_of
    from features.plan import compile_plan

    plan = compile_plan(project)
    skipped, newest = asyncio.run(_from_store(plan, settings))
    kept = Checkpoints(settings.home / "replay" / project.name)
    sources = Sources(
        registry_of(settings, project.name), plan, rules(settings), skipped, newest,
        None if fresh else kept,
    )  # fmt: skip
    return run(sources, ids)


async def _from_store(
    plan: FeaturePlan, settings: Settings
) -> tuple[tuple[tuple[int, int], ...], Newest | None]:
    """What the learner has left out for good, and the learner itself; nothing without a store.

    Raises StoreUnavailable, and ArtifactError for a snapshot that is damaged.
    """
    from batch.replay.replay import Newest
    from cli.wiring import connect_store, names_of, registry_of
    from learners.families import restore
    from learners.release import load_release
    from learners.snapshot import Snapshot
    from streams.snapshots import read_missing, restored

    if settings.redis is None:
        return (), None
    project, names = plan.project, names_of(plan, settings)
    async with connect_store(settings) as (_, store):
        found = await read_missing(store, names, project.learner.name, ("", 0))
    if not found:
        return (), None
    chain = [Snapshot.decode(each) for each in found]
    last, registry = chain[-1], registry_of(settings, project.name)

    def learner_of(whole: Snapshot) -> Any:
        release = load_release(registry, whole.release, project)
        return restore(project.learner, release, plan.schema, whole.state)

    learner = restored(chain, learner_of)
    return tuple(last.skipped), Newest(last.release, last.number, last.offset, learner)


def _say_unknown(project: Project, settings: Settings, names: list[str]) -> None:
    from features.archive.files import committed_offsets
    from tidemill.topics import PREDICTIONS

    rows = sum(committed_offsets(settings.home, project.name, PREDICTIONS).values())
    for name in names:
        typer.echo(
            f"tidemill: id: found {name!r}; allowed: one of {rows} archived predictions of "
            f"{project.name} (what was scored a moment ago is archived a few seconds later)",
            err=True,
        )


def in_words(found: Report) -> Iterator[str]:
    """A few lines for each prediction."""
    for each in found.predictions:
        yield f"prediction {each.id} for {each.key or 'no key'}: {_verdict(each)}"
        yield (
            f"  scored {_time(each.scored_ms)} by snapshot {each.snapshot} of {each.release} "
            f"({each.arm})"
        )
        yield from _features(each)
        yield from _scores(each)
        if each.now is not None:
            settled = (
                "" if each.now.settled is None else f", {each.now.settled:.6g} with all events"
            )
            yield (
                f"  now: {each.now.score:.6g} by snapshot {each.now.snapshot} of "
                f"{each.now.release} (offset {each.now.offset}){settled}"
            )


def _verdict(each: Replayed) -> str:
    if each.problem is not None:
        return f"cannot be replayed ({each.problem.cause}): {each.problem.message}"
    return "the same, bit for bit" if each.exact else "differs"


def _features(each: Replayed) -> Iterator[str]:
    found = each.features
    if found.problem is not None:
        yield f"  features: {found.problem.message}"
    elif found.equal:
        yield f"  features: all {found.compared} equal"
    elif found.differences:
        yield f"  features: {len(found.differences)} of {found.compared} differ"
        for one in found.differences[:SHOWN]:
            yield f"    {one.name}: {one.logged:.6g}, rebuilt {one.rebuilt:.6g} ({one.cause})"
    if found.left_out:
        yield f"  taken as logged: {', '.join(found.left_out)}"


def _scores(each: Replayed) -> Iterator[str]:
    if each.weights is None or each.score is None or each.baseline is None:
        return
    weights = each.weights
    skipped = f", without {len(weights.skipped)} ranges" if weights.skipped else ""
    yield (
        f"  weights: {weights.release} and {weights.examples} examples, from offset "
        f"{weights.trained_to} to {weights.offset}{skipped}"
    )
    yield f"  score: {_number(each.score)}; baseline: {_number(each.baseline)}"
    if not each.features.equal and each.from_rebuilt is not None:
        yield f"  score of the rebuilt features: {each.from_rebuilt!r}"


def _number(found: Number) -> str:
    if found.equal:
        return repr(found.logged)
    gone = f"release {found.release} is gone"
    return f"{found.logged!r}, rebuilt {gone if found.replayed is None else repr(found.replayed)}"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
