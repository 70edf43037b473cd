"""`tidemill trial`: how the challengers do beside the champion, and what became of others."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from tidemill.declaration import Project
from tidemill.roles import BY_TRIAL, RoleChange
from tidemill.settings import Settings
from tidemill.trial_report import ArmReport, TrialReport

SHOWN = 10


def trial(file: ProjectFile, as_json: AsJson = False) -> None:
    """Show how every challenger does beside the champion, and the newest decisions.

    Exit codes: 0 shown, also when nobody is compared; 1 the store does not answer; 2 a mistake.
    """
    with errors_as_exit_codes():
        project, settings = prepare(file)
        from cli.wiring import registry_of

        found = asyncio.run(_read(project, settings))
        changes = registry_of(settings, project.name).standings().changes
        decided = [change for change in changes if change.by == BY_TRIAL][-SHOWN:]
        if as_json:
            typer.echo(json.dumps(_data(found, decided)))
        else:
            typer.echo(in_words(found, decided))


async def _read(project: Project, settings: Settings) -> TrialReport | None:
    """What the worker said last; None before there was a challenger. Raises StoreUnavailable."""
    from cli.wiring import connect_store, names_of
    from features.plan import compile_plan

    names = names_of(compile_plan(project), settings)
    async with connect_store(settings) as (_, store):
        (data,) = await store.read([names.trial()])
    try:
        return msgspec.json.decode(data, type=TrialReport) if data else None
    except msgspec.DecodeError:  # of another version: the worker will write it anew
        return None


def _data(found: TrialReport | None, decided: list[RoleChange]) -> dict[str, Any]:
    return {
        "trial": msgspec.to_builtins(found),
        "decisions": [msgspec.to_builtins(change) for change in decided],
    }


def in_words(found: TrialReport | None, decided: list[RoleChange]) -> str:
    """The report for a person."""
    lines = _report(found) if found is not None and found.arms else ["nobody is compared"]
    if decided:
        lines += ["decided:", *(f"  {_decision(change)}" for change in decided)]
    return "\n".join(lines)


def _report(found: TrialReport) -> list[str]:
    now = f" at {_time(found.now_ms)}" if found.now_ms else ""
    minutes = found.block_ms / 60_000
    lines = [f"beside champion {found.champion}{now}, in blocks of {minutes:g} minutes:"]
    for arm in found.arms:
        lines += [_head(arm), *(f"    {line}" for line in _numbers(arm))]
    return lines


def _head(arm: ArmReport) -> str:
    if arm.role == "watched":
        until = f" until {_time(arm.until_ms)}" if arm.until_ms else ""
        return f"  {arm.release}: champion before, watched{until}"
    answers = f"answers {arm.share:.1%}" if arm.share else "only scored"
    return f"  {arm.release}: challenger, {answers}"


def _numbers(arm: ArmReport) -> list[str]:
    lines = [
        f"{arm.examples} examples in {arm.blocks} blocks; {arm.answered} answered by it, "
        f"{arm.failed} not scored, {arm.left_out} blocks left out"
    ]
    if arm.loss is not None and arm.champion_loss is not None and arm.difference is not None:
        lines.append(
            f"loss {arm.loss:.6f}, champion {arm.champion_loss:.6f}: better by "
            f"{arm.difference:.6f} ({_bound(arm.low)} to {_bound(arm.high)})"
        )
    own, champion = msgspec.to_builtins(arm.measures), msgspec.to_builtins(arm.champion_measures)
    if own:
        pairs = (f"{n} {own[n]:.4f} ({champion[n]:.4f})" for n in own if n in champion)
        lines.append(f"newest {arm.newest}, champion in brackets: {', '.join(pairs)}")
    if arm.behind:
        lines.append(f"its learner has {arm.behind} examples to learn")
    if arm.waiting:
        lines.append(f"waits: {arm.waiting}")
    return lines


def _bound(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"


def _decision(change: RoleChange) -> str:
    instead = f" instead of {change.instead_of}" if change.instead_of else ""
    action = change.action.replace("_", " ")
    return f"{_time(change.time_ms)} {change.release} {action}{instead}: {change.why}"


def _time(ms: int | None) -> str:
    return f"{datetime.fromtimestamp((ms or 0) / 1000, UTC):%Y-%m-%d %H:%M:%S}"
