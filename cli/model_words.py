"""What the `tidemill models` commands print for a person, from what they print as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.table import Table

from tidemill.roles import RoleChange

_SHOWN_IMPORTANCE = 10
_GATE = "gate_candidate_"


def listed(found: Sequence[dict[str, Any]]) -> Table:
    """The releases, one a line."""
    table = Table("release", "role", "published", "rows", "metrics", "run", "dataset")
    for each in found:
        table.add_row(
            each["release"], each["role"], _time(each.get("created_ms", 0)),
            str(each.get("rows", "")), each.get("problem") or _first_metrics(each["metrics"]),
            each.get("run", ""), each.get("dataset", ""),
        )  # fmt: skip
    return table


def _first_metrics(metrics: dict[str, float]) -> str:
    shown = {n: v for n, v in metrics.items() if n.startswith(_GATE)} or metrics
    return ", ".join(f"{n.removeprefix(_GATE)} {v:.4g}" for n, v in shown.items())


def shown(found: dict[str, Any]) -> str:
    """One release."""
    head = (
        f"{found['release']} of {found['project']}: {found['role']}; signed by "
        f"{found['signed_by'] or 'nobody (from before signatures)'}"
    )
    lines = [head, f"  published {_time(found['created_ms'])}, {found['rows']} rows"]
    for name in ("run", "dataset", "parent", "forced", "version", "schema"):
        lines += [f"  {name} {found[name]}"] if found[name] else []
    for group in ("offsets", "parameters", "metrics", "files"):
        lines += [f"  {group}:", *(f"    {n}: {v}" for n, v in found[group].items())]
    return "\n".join([*lines, "  roles:", *(f"    {_change(each)}" for each in found["changes"])])


def _change(told: dict[str, Any]) -> str:
    change = msgspec.convert(told, RoleChange)
    by = f" by {change.by}" if change.by else ""
    instead = f" instead of {change.instead_of}" if change.instead_of else ""
    forced = ", forced" if change.forced else ""
    why = f": {change.why}" if change.why else ""
    action = change.action.replace("_", " ")
    share = f" for {change.share:.1%} of the requests" if change.share else ""
    watched = f", {change.watched} watched beside it" if change.watched else ""
    what = f"{action}{share}{instead}{watched}"
    return f"{_time(change.time_ms)} {change.release} {what}{by}{forced}{why}"


def compared(found: dict[str, Any]) -> str:
    """What separates two releases."""
    lines = [f"{found['before']} → {found['after']}"]
    for group in ("provenance", "parameters", "metrics", "offsets"):
        pairs = found[group].items()
        lines += [f"  {group}:"] if pairs else []
        lines += [f"    {name}: {_value(a)} → {_value(b)}" for name, (a, b) in pairs]
    for sign in ("added", "removed"):
        names = found[f"features_{sign}"]
        lines += [f"  features {sign}: {', '.join(names)}"] if names else []
    lines += ["  features in another order"] if found["reordered"] else []
    changes = found["importance"][:_SHOWN_IMPORTANCE]
    lines += ["  share of gain, what changed most:"] if changes else []
    lines += [f"    {c['feature']}: {_share(c['before'])} → {_share(c['after'])}" for c in changes]
    return "\n".join(lines) if len(lines) > 1 else f"{lines[0]}: no difference"


def _value(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value) or "–"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def carried_out(found: dict[str, Any]) -> str:
    """What an order changed, and who heard of it."""
    champion = f"the champion is {found['champion']}"
    if found["change"] is None:
        return f"nothing to do; {champion}"
    lines = [_change(found["change"]), champion]
    if found["not_announced"]:
        lines.append(
            f"not announced: {found['not_announced']}; a worker that runs finds it within seconds"
        )
    if found["mlflow"]:
        done = found["mlflow"]["recorded"]
        lines.append("recorded in MLflow" if done else f"not recorded: {found['mlflow']['error']}")
    return "\n".join(lines)


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ms else ""
