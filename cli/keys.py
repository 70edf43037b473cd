"""The keys commands: API keys are made, listed, revoked and rotated while everything runs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from cli.command import AsJson, ProjectFile, errors_as_exit_codes, prepare
from cli.login import By, login_name
from tidemill.api_keys import SCOPES, ApiKey, KeyFile, KeyRequest
from tidemill.clock import SystemClock
from tidemill.durations import duration_ms
from tidemill.errors import InputError

app = typer.Typer(help="The api's keys.", no_args_is_help=True)
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")]
_LIMIT = re.compile(r"(\d+)/(.+)")


@app.command()
def create(  # noqa: PLR0913 - a command has as many parameters as options
    file: ProjectFile,
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do: " + ", ".join(SCOPES) + ".")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, such as 90d.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="Requests in a window, such as 6000/1min.")
    ] = None,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it is shown this once. A running api knows it within a second."""
    with errors_as_exit_codes():
        keys, now = _keys(file)
        ends = None if expires is None else now + duration_ms("--expires", expires)
        quota, seconds = (0, 0) if limit is None else _limit(limit)
        request = KeyRequest(name, scope or (), ends, quota, seconds)
        key, text = keys.create(request, by or login_name(), now)
        _print_new(key, text, now, as_json)


@app.command("list")
def list_keys(file: ProjectFile, as_json: AsJson = False) -> None:
    """The keys with their scopes and when they end; never the keys themselves."""
    with errors_as_exit_codes():
        keys, now = _keys(file)
        shown = [_shown(key, now) for key in keys.read() or ()]
        if as_json:
            typer.echo(json.dumps(shown))
        else:
            typer.echo("\n".join(map(_in_words, shown)) or "no keys: whoever reaches the api may")


@app.command()
def revoke(file: ProjectFile, key_id: KeyId, by: By = "", as_json: AsJson = False) -> None:
    """End a key; a running api refuses it within a second."""
    with errors_as_exit_codes():
        keys, now = _keys(file)
        found = _shown(keys.revoke(key_id, by or login_name(), now), now)
        typer.echo(json.dumps(found) if as_json else _in_words(found))


@app.command()
def rotate(
    file: ProjectFile,
    key_id: KeyId,
    keep: Annotated[str, typer.Option(help="How long the old one still goes.")] = "1d",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Make a key that may what this one may, and print it; the old one ends after a while."""
    with errors_as_exit_codes():
        keys, now = _keys(file)
        made = keys.rotate(key_id, by or login_name(), now, duration_ms("--keep", keep))
        _print_new(*made, now, as_json)


def _keys(file: Any) -> tuple[KeyFile, int]:
    project, settings = prepare(file)
    return KeyFile(settings.home, project.name), SystemClock().now_ms()


def _limit(text: str) -> tuple[int, int]:
    """Requests and seconds of `6000/1min`."""
    match = _LIMIT.fullmatch(text)
    milliseconds = duration_ms("--limit", match[2]) if match else 0
    if match is None or int(match[1]) == 0 or milliseconds % 1000:
        allowed = "requests/window, such as 100/1s or 6000/1min"
        raise InputError("limit", "--limit", repr(text), allowed)
    return int(match[1]), milliseconds // 1000


def _print_new(key: ApiKey, text: str, now_ms: int, as_json: bool) -> None:
    found = _shown(key, now_ms)
    if as_json:
        typer.echo(json.dumps({"key": text, **found}))
        return
    typer.echo(_in_words(found), err=True)
    typer.echo("keep it now, it is not shown again:", err=True)
    typer.echo(text)


def _shown(key: ApiKey, now_ms: int) -> dict[str, Any]:
    found = msgspec.to_builtins(key)
    del found["sha256"]
    return {**found, "state": key.state(now_ms)}


def _in_words(found: dict[str, Any]) -> str:
    ends = "" if found["expires_ms"] is None else f"  until {_time(found['expires_ms'])}"
    quota = f"  {found['quota']}/{found['window_seconds']}s" if found["quota"] else ""
    scopes = ",".join(found["scopes"])
    return f"{found['id']}  {found['state']}  {found['name']}  {scopes}{quota}{ends}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
