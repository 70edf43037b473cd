"""Who may ask for what with an API key: scopes, ends, rotation, and denial by default."""

import msgspec
import pytest
from guarded import Guarded, with_key

from api.door.access import ADMIN, LABEL, READ, SCORE, rule_of
from tidemill.api_keys import SCOPES, KeyFile, KeyRequest

SCORE_PATH, NOW_MS = "/v1/score", 1_400_000_000_000


@pytest.fixture
def guarded(served) -> Guarded:
    """The app behind a guard that knows no key yet."""
    return Guarded(served)


@pytest.fixture
def ask(guarded, caller_of):
    """Calls the guarded app."""
    return caller_of(guarded.app)


@pytest.fixture
def body(request_body) -> bytes:
    """A request that can be scored."""
    return msgspec.json.encode(request_body)


def routes(app) -> list[tuple[str, str]]:
    """Every method and path that the app answers, parts in braces filled in."""
    hot = [(route.method, path) for path, route in app.hot._exact.items()]
    around = [(route.method, f"{before}x{after}") for before, after, route in app.hot._around]
    rare = [
        (method, route.path.replace("{release}", "r0001").replace("{", "").replace("}", ""))
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
    ]
    return [*hot, *around, *rare]


async def test_without_keys_everybody_may(guarded, ask, body):
    """Nothing is declared, nothing is asked."""
    assert guarded.guard.open
    assert 200 == (await ask("POST", SCORE_PATH, body)).status
    assert 200 == (await ask("GET", "/v1/status")).status


async def test_a_key_is_needed_once_there_is_one(guarded, ask, body):
    """From the first key on nobody passes without; the answer says what is wanted."""
    guarded.key("read")
    reply = await ask("POST", SCORE_PATH, body)
    assert (401, "unauthorized", 'Bearer realm="tidemill"') == (
        reply.status, reply.json["cause"], reply.headers["www-authenticate"],
    )  # fmt: skip
    assert 401 == (await ask("GET", "/v1/status")).status


@pytest.mark.parametrize("header", [b"x-api-key", b"authorization"])
async def test_a_key_comes_in_either_header(guarded, ask, body, header):
    """By itself, or as a bearer token."""
    key = guarded.key("score").encode()
    value = key if header == b"x-api-key" else b"bearer " + key
    assert 200 == (await ask("POST", SCORE_PATH, body, headers=[(header, value)])).status


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_scope_opens_its_own_routes_alone(guarded, ask, body, scope):
    """A key may do what its scopes say and nothing else: no scope includes another."""
    headers = with_key(guarded.key(scope))
    order = msgspec.json.encode({"by": "anna", "why": "test"})
    asked = {
        SCORE: await ask("POST", SCORE_PATH, body, headers=headers),
        LABEL: await ask("POST", "/v1/labels", b"[]", headers=headers),
        READ: await ask("GET", "/v1/status", headers=headers),
        ADMIN: await ask("POST", "/v1/models/r0001:promote", order, headers=headers),
    }
    refused = {name for name, reply in asked.items() if reply.status == 403}
    assert {*SCOPES} - {scope} == refused
    for name in refused:
        assert ("forbidden", name) == (asked[name].json["cause"], asked[name].json["allowed"])


async def test_every_route_is_denied_without_a_key(guarded, ask):
    """What is not free by name asks for a key, whatever routes are added later."""
    guarded.key("read")
    free = {
        ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/v1/problems"), ("GET", "/v2"),
        ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"),
    }  # fmt: skip
    found = routes(guarded.app)
    assert len(found) > 15
    for method, path in found:
        known = (method.replace("HEAD", "GET"), path)
        if known in free or path.endswith("/ready") or path.startswith("/console"):
            continue
        reply = await ask(method, path, b"{}")
        assert (401, method, path) == (reply.status, method, path)


def test_a_route_that_has_no_rule_is_an_operators():
    """Denied by default: reading for GET, an order else, neither beside the admin port."""
    assert (READ, False) == rule_of("GET", "/v1/made/tomorrow")
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert (ADMIN, False) == rule_of(method, "/v1/made/tomorrow")
        assert (ADMIN, False) == rule_of(method, "/v1/status")


@pytest.mark.parametrize("path", ["/healthz", "/v1/problems", "/v2", "/v2/health/live"])
def test_a_free_path_refuses_other_methods_by_itself(path):
    """What nobody can do there needs no key to be told so: 405, not 401."""
    for method in ("POST", "PUT", "DELETE", "TRACE"):
        assert (None, True) == rule_of(method, path)


@pytest.mark.parametrize(
    "path",
    ["/v1/models/r1:promote", "/v1//score", "/v1/score/", "/V1/score", "/healthz/x", "/v2/x/y"],
)
def test_no_spelling_of_a_path_is_free(path):
    """A path that is nearly a free one is not."""
    assert rule_of("POST", path).scope is not None
    assert rule_of("GET", path).scope is not None


@pytest.mark.parametrize(
    "wrong",
    [b"", b"tm_", b"tm_000000000000_" + b"A" * 43, b"x" * 5000, b"\xff\xfe", b"tm_a_b_c", b"a.b.c"],
)
async def test_a_wrong_key_is_refused(guarded, ask, body, wrong):
    """Whatever it looks like."""
    guarded.key("score")
    reply = await ask("POST", SCORE_PATH, body, headers=[(b"x-api-key", wrong)])
    assert 401 == reply.status
    assert wrong.decode("latin-1") not in reply.body.decode() or not wrong


async def test_a_key_with_one_letter_changed_is_refused(guarded, ask, body):
    """A key is right as a whole or not at all."""
    key = guarded.key("score")
    for place in (3, 10, 20, len(key) - 1):
        other = key[:place] + ("A" if key[place] != "A" else "B") + key[place + 1 :]
        assert 401 == (await ask("POST", SCORE_PATH, body, headers=with_key(other))).status


async def test_a_key_of_another_project_is_refused(guarded, ask, body):
    """Keys belong to one project: another's, made in the same home, opens nothing here."""
    guarded.key("score")
    other = KeyFile(guarded.world.registry.home, "flights")
    _, text = other.create(KeyRequest("other", ["score"]), "test", NOW_MS)
    guarded.ring.look()
    assert 401 == (await ask("POST", SCORE_PATH, body, headers=with_key(text))).status


async def test_a_key_ends_without_a_restart(guarded, ask, body):
    """When it expires, and when it is revoked."""
    short = guarded.key("score", expires_ms=NOW_MS + 1000)
    long = guarded.key("score")
    assert 200 == (await ask("POST", SCORE_PATH, body, headers=with_key(short))).status
    guarded.world.clock.advance(1000)
    reply = await ask("POST", SCORE_PATH, body, headers=with_key(short))
    assert (401, "a key that has ended") == (reply.status, reply.json["found"])
    guarded.keys.revoke(long.split("_")[1], "anna", NOW_MS + 1000)
    guarded.ring.look()
    assert 401 == (await ask("POST", SCORE_PATH, body, headers=with_key(long))).status


async def test_a_rotated_key_needs_no_restart(guarded, ask, body):
    """Both work for the time the old one is kept, then the new one alone."""
    old = guarded.key("score")
    _, new = guarded.keys.rotate(old.split("_")[1], "anna", NOW_MS, 5000)
    guarded.ring.look()
    both = [await ask("POST", SCORE_PATH, body, headers=with_key(key)) for key in (old, new)]
    assert [200, 200] == [reply.status for reply in both]
    guarded.world.clock.advance(5000)
    both = [await ask("POST", SCORE_PATH, body, headers=with_key(key)) for key in (old, new)]
    assert [401, 200] == [reply.status for reply in both]


async def test_a_rotated_key_keeps_its_idempotency_keys(guarded, ask):
    """A label that is sent again with the new key counts once; another caller's is another's."""
    label = msgspec.json.encode({"key": "c1|s1", "value": 1, "time": NOW_MS - 1})
    keys = [guarded.key("label")]
    for _ in range(2):
        keys.append(guarded.keys.rotate(keys[-1].split("_")[1], "anna", NOW_MS, 5000)[1])
    guarded.ring.look()
    found = []
    for key in (*keys, guarded.key("label")):
        headers = [*with_key(key), (b"idempotency-key", b"k1")]
        reply = await ask("POST", "/v1/labels", label, headers=headers)
        found.append((reply.status, reply.headers.get("idempotent-replayed")))
    assert [(202, None), (202, "true"), (202, "true"), (202, None)] == found
    assert 2 == len(guarded.world.producer.sent["labels"])


@pytest.mark.parametrize("damage", [b"", b"[]garbage", None])
async def test_a_file_that_went_bad_opens_nothing(guarded, ask, body, damage):
    """Keys that were read stay; a file that is gone or damaged does not open the api."""
    key = guarded.key("score")
    if damage is None:
        guarded.keys.path.unlink()
    else:
        guarded.keys.path.write_bytes(damage)
    guarded.ring.look()
    assert 401 == (await ask("POST", SCORE_PATH, body)).status
    assert 200 == (await ask("POST", SCORE_PATH, body, headers=with_key(key))).status


async def test_keys_that_all_ended_open_nothing(guarded, ask, body):
    """The last key was revoked: nobody passes."""
    key = guarded.key("score")
    guarded.keys.revoke(key.split("_")[1], "anna", NOW_MS)
    guarded.ring.look()
    assert 401 == (await ask("POST", SCORE_PATH, body)).status


async def test_a_refused_request_is_not_read(guarded, ask):
    """Its body stays where it is."""
    guarded.key("score")
    assert 401 == (await ask("POST", SCORE_PATH, b"x" * 10_000)).status
    assert 0 == ask.received


async def test_probes_need_no_key(guarded, ask):
    """Whether it lives and is ready is no secret."""
    guarded.key("score")
    statuses = [(await ask("GET", path)).status for path in ("/healthz", "/readyz")]
    assert [200, 200] == statuses


async def test_the_admin_port_has_what_the_other_has_not(served, caller_of, body):
    """Roles, metrics and status answer on the admin port alone, scores on both."""
    guarded = Guarded(served, admin_port=81)
    public, admin = caller_of(guarded.app), caller_of(guarded.app, port=81)
    for path in ("/metrics", "/v1/status", "/v1/models", "/v1/quality", "/docs2"):
        reply = await public("GET", path)
        assert (404, "unknown_route") == (reply.status, reply.json["cause"])
    order = msgspec.json.encode({"by": "anna", "why": "test"})
    assert 404 == (await public("POST", "/v1/models/r0001:promote", order)).status
    assert 200 == (await admin("GET", "/metrics")).status
    assert 200 == (await admin("GET", "/v1/status")).status
    assert [200, 200] == [(await ask("POST", SCORE_PATH, body)).status for ask in (public, admin)]


async def test_the_admin_port_asks_for_keys_too(served, caller_of):
    """Another port is no permission."""
    guarded = Guarded(served, admin_port=81)
    guarded.key("score")
    assert 401 == (await caller_of(guarded.app, port=81)("GET", "/metrics")).status


async def test_a_page_of_another_site_gives_no_orders(guarded, ask):
    """What a browser sends for another site's page is refused, with the open api too."""
    order = msgspec.json.encode({"by": "anna", "why": "test"})
    headers = [(b"host", b"localhost:8088"), (b"origin", b"https://evil.example")]
    reply = await ask("POST", "/v1/models/r0001:promote", order, headers=headers)
    assert (403, "origin") == (reply.status, reply.json["field"])
    own = [(b"host", b"localhost:8088"), (b"origin", b"http://localhost:8088")]
    assert 403 != (await ask("POST", "/v1/models/r0001:promote", order, headers=own)).status


async def test_refusals_are_told_in_sum(guarded, ask, body):
    """The audit log says how many calls were refused, for which key and from where; no secret."""
    key = guarded.key("read")
    for _ in range(3):
        await ask("POST", SCORE_PATH, body)
        await ask("POST", SCORE_PATH, body, headers=with_key(key))
    wrong = f"tm_{'0' * 12}_{'s' * 43}"
    await ask("POST", SCORE_PATH, body, headers=with_key(wrong))
    (entry,) = await guarded.told("refused")
    expected = {
        "unauthorized nobody test": 3,
        f"forbidden {key.split('_')[1]} test": 3,
        "unauthorized unknown test": 1,
    }
    assert expected == entry.detail
    assert not any(secret in guarded.log.path.read_text() for secret in (key, wrong, "s" * 43))
    assert [entry] == await guarded.told("refused")


async def test_swaps_are_told(guarded):
    """A release that began to answer is in the audit log once, snapshots in sum."""
    measurements = guarded.world.service.measurements
    measurements.swaps["snapshot"] += 5
    (swap,) = await guarded.told("swap")
    (snapshots,) = await guarded.told("snapshots")
    assert ("api test:1", "r0001", 5) == (swap.actor, swap.subject, snapshots.detail["count"])
    assert [1, 1] == [len(await guarded.told(action)) for action in ("swap", "snapshots")]


async def test_an_audit_log_that_takes_nothing_stops_nobody(guarded, ask, body, monkeypatch):
    """What could not be written is written the next time; answers go on."""
    guarded.key("read")
    await ask("POST", SCORE_PATH, body)
    path = guarded.log.path
    kept = path.read_bytes()
    path.write_bytes(kept[:-20] + b"x\n")
    await guarded.trail.write(everything=True)
    path.write_bytes(kept)
    (entry,) = await guarded.told("refused")
    assert {"unauthorized nobody test": 1} == entry.detail


async def test_the_lifespan_follows_the_keys(guarded, ask, body, until, monkeypatch):
    """While the app runs a new key is known by itself, and its end writes what happened."""
    monkeypatch.setattr("api.door.guard.KEYS_SECONDS", 0.01)
    async with guarded.app.router.lifespan_context(guarded.app):
        guarded.keys.create(KeyRequest("a", ["read"]), "test", NOW_MS)
        await until(lambda: guarded.ring.declared)
        assert 401 == (await ask("POST", SCORE_PATH, body)).status
    assert ["refused"] == [e.action for e in guarded.log.entries() if e.action == "refused"]


async def test_a_large_body_of_a_rare_route_is_refused(guarded, ask):
    """The bound on bodies holds for every route, said beforehand or not."""
    path = "/v1/models/r0001:promote"
    reply = await ask("POST", path, b"x", headers=[(b"content-length", b"999999")])
    assert (413, 0) == (reply.status, ask.received)
    reply = await ask("POST", path, *[b"x" * 10_000] * 20)
    assert 413 == reply.status
    assert ask.received < 10


async def test_a_proxys_authorization_does_not_hide_a_key(guarded, ask, body):
    """`x-api-key` counts wherever it stands; another scheme than Bearer is none of ours."""
    key = guarded.key("score").encode()
    headers = [(b"authorization", b"Basic dXNlcjpwYXNz"), (b"x-api-key", key)]
    assert 200 == (await ask("POST", SCORE_PATH, body, headers=headers)).status
    assert 401 == (await ask("POST", SCORE_PATH, body, headers=headers[:1])).status


@pytest.mark.parametrize(
    ("host", "origin", "refused"),
    [
        (b"localhost:8088", b"https://evil.example", True),
        (b"evil.example:8088", b"http://evil.example:8088", True),
        (b"localhost:8088", b"null", True),
        (b"localhost:8088", b"http://localhost:8088", False),
        (b"127.0.0.1", b"http://127.0.0.1", False),
        (b"[::1]:8088", b"http://[::1]:8088", False),
    ],
)
async def test_a_page_of_another_site_labels_nothing(guarded, ask, host, origin, refused):
    """Nor does one whose name was made to lead to this machine; an open api is on loopback."""
    headers = [(b"host", host), (b"origin", origin), (b"content-type", b"text/plain")]
    reply = await ask("POST", "/v1/labels", b"[]", headers=headers)
    assert refused == (reply.status == 403)


async def test_answers_are_neither_kept_nor_guessed_at(guarded, ask):
    """What is not hot says so to browsers and proxies, refusals too."""
    guarded.key("read")
    for path in ("/healthz", "/v1/status"):
        reply = await ask("GET", path)
        assert ("nosniff", "no-store") == (
            reply.headers["x-content-type-options"], reply.headers["cache-control"],
        )  # fmt: skip


def test_a_file_of_keys_that_was_tampered_with_is_refused(guarded):
    """A digest that is none is said, and stops nobody from being followed."""
    key = guarded.key("read")
    path = guarded.keys.path
    text = path.read_text()
    digest = guarded.keys.read()[0].sha256
    path.write_text(text.replace(digest, "z" * 64))
    guarded.ring.look()
    assert guarded.ring.declared
    assert guarded.ring.ids == {key.split("_")[1]}


async def test_probes_show_no_insides(guarded, ask):
    """What does not answer is named; where it is, only to those who need no key."""
    guarded.world.store_gone = True
    assert {"store": "connection refused"} == (await ask("GET", "/readyz")).json["missing"]
    guarded.key("score")
    assert {"store": "does not answer"} == (await ask("GET", "/readyz")).json["missing"]
    assert b"refused" not in (await ask("GET", "/v2/health/ready")).body
