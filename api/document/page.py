"""The OpenAPI document as one page for people: no script, and nothing loaded from anywhere."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from html import escape

import msgspec

from api.document.operations import Json

STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; --accent: #0b8f93; }
body { max-width: 60rem; margin: 0 auto; padding: 0 1rem 3rem;
  font: 15px/1.5 system-ui, sans-serif; }
h1 small, .quiet { color: var(--quiet); font-weight: 400; }
h2 { margin: 2rem 0 .5rem; }
h3 { margin: 1rem 0 .25rem; font-size: 1em; }
a { color: var(--accent); }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .4rem 0;
  padding: .4rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 3.5rem; color: var(--accent); }
pre, code { font: 13px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; border-left: 3px solid var(--line); margin: .25rem 0;
  padding: .25rem .8rem; }
table { border-collapse: collapse; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; text-align: left;
  vertical-align: top; }
"""
_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""What the page is answered with: it may show itself, and nothing else."""

_REFERENCE = re.compile(r'\{\s*"\$ref":\s*"#/components/(\w+)/([^"]+)"\s*\}')


def page(made: Json) -> bytes:
    """The page of an OpenAPI document, in UTF-8."""
    info, components = made["info"], made["components"]
    tags = {tag["name"]: tag["description"] for tag in made["tags"]}
    found: dict[str, list[str]] = {name: [] for name in tags}
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            found[operation["tags"][0]].append(_operation(method, path, operation))
    title = escape(info["title"])
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{title} <small>{escape(info['version'])}</small></h1>",
        f"<p>{escape(info['description'])} ",
        'For programs: <a href="openapi.json">openapi.json</a>.</p>',
        *(_section(name, text, found[name]) for name, text in tags.items()),
        _section("schemas", "What is sent and answered", _components(components, "schemas")),
        _section("examples", "What a refusal says", _components(components, "examples")),
        "</body></html>",
    ]
    return "".join(parts).encode()


def _section(name: str, text: str, inner: Iterable[str]) -> str:
    head = f'<h2>{escape(name)} <small class="quiet">{escape(text)}</small></h2>'
    return f"<section>{head}{''.join(inner)}</section>"


def _operation(method: str, path: str, operation: Json) -> str:
    inner = [f"<p>{escape(operation['description'])}</p>"] if "description" in operation else []
    inner += _parameters(operation.get("parameters", ()))
    if "requestBody" in operation:
        inner += _contents("Body", operation["requestBody"])
    for status, answer in operation["responses"].items():
        inner += _contents(f"{status} {answer['description']}", answer)
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{method.upper()}</b> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"{''.join(inner)}</details>"
    )


def _parameters(parameters: Iterable[Json]) -> Iterator[str]:
    rows = [
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{escape(each['description'])}</td></tr>"
        for each in parameters
    ]
    if rows:
        yield f"<h3>Parameters</h3><table>{''.join(rows)}</table>"


def _contents(title: str, told: Json) -> Iterator[str]:
    """A body or an answer in each of its media types, with examples."""
    yield f"<h3>{escape(title)}</h3>"
    for name, header in told.get("headers", {}).items():
        yield f"<p><code>{escape(name)}</code>: {escape(header['description'])}</p>"
    for media, content in told.get("content", {}).items():
        yield f'<p class="quiet">{escape(media)}</p>{_json(content["schema"])}'
        examples = content.get("examples", {})
        if "example" in content:
            examples = {"example": {"value": content["example"]}}
        for name, example in examples.items():
            value = example.get("value", example)  # one that has none refers to one
            yield f'<p class="quiet">{escape(name)}</p>{_json(value)}'


def _components(components: Json, kind: str) -> Iterator[str]:
    for name, value in components[kind].items():
        id_ = escape(f"{kind}-{name}")
        yield f'<details id="{id_}"><summary>{escape(name)}</summary>{_json(value)}</details>'


def _json(value: object) -> str:
    """JSON in which what refers to a component leads to it."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    linked = _REFERENCE.sub(r'<a href="#\1-\2">\2</a>', escape(text, quote=False))
    return f"<pre>{linked}</pre>"
