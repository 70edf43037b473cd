"""The page of the OpenAPI document: all of it, by itself, whatever a project is called."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from api.document.openapi import document, operations
from api.document.page import page


@pytest.fixture
async def shown(call):
    """What is answered."""
    return await call("GET", "/docs")


async def test_it_loads_nothing(shown):
    """No script, no style, picture or font of another place: it works without a network."""
    text = shown.body.decode()
    links = re.findall(r'(?:href|src|action|data)="([^"]*)"', text)
    assert {"openapi.json"} == {each for each in links if not each.startswith("#")}
    for word in ("<script", "<link", "<img", "@import", "url(", "http-equiv", "onload"):
        assert word not in text


async def test_it_may_do_nothing_either(shown):
    """Its policy allows its own style and no more."""
    policy = dict(
        part.split(" ", 1) for part in shown.headers["content-security-policy"].split("; ")
    )
    (style,) = re.findall(r"<style>(.*)</style>", shown.body.decode(), re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert ("'none'", f"'sha256-{digest}'") == (policy["default-src"], policy["style-src"])
    assert ("text/html; charset=utf-8", "nosniff") == (
        shown.headers["content-type"], shown.headers["x-content-type-options"],
    )  # fmt: skip


async def test_every_operation_is_on_it(shown, world):
    """By its method, path and summary."""
    text = shown.body.decode()
    for each in operations(world.service.project):
        head = f"<b>{each.method.upper()}</b> <code>{each.path}</code>"
        assert head in text
    assert 1 == text.count('id="post_v1_score"')


async def test_every_link_leads_somewhere(shown):
    """To a schema, or to what a refusal says."""
    text = shown.body.decode()
    links, places = set(re.findall(r'href="#([^"]+)"', text)), re.findall(r'id="([^"]+)"', text)
    assert {"schemas-Answer", "examples-queue_full"} < links <= set(places)
    assert len(places) == len(set(places))


def test_what_is_declared_is_text(world):
    """Whatever stands in a declaration is shown, not obeyed."""
    made = document(world.service.project, secured=True)
    evil = "</pre><script>alert(1)</script>"
    made["info"]["title"] = evil
    made["components"]["schemas"][evil] = {"title": evil}
    made["paths"]["/v1/score"]["post"]["summary"] = evil
    text = page(made).decode()
    assert "<script" not in text
    assert 5 <= text.count("&lt;/pre&gt;&lt;script&gt;")


async def test_it_is_that_of_the_document(call, shown):
    """Made anew when the document is."""
    again = await call("GET", "/docs")
    assert shown.body == again.body
    title = (await call("GET", "/openapi.json")).json["info"]["title"]
    assert f"<title>{title}</title>" in shown.body.decode()
    assert "Tidemill: payments" == title


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
async def test_pages_that_load_scripts_from_elsewhere_are_not_there(call, path):
    """FastAPI would serve them."""
    assert 404 == (await call("GET", path)).status
