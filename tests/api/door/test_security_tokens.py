"""Bearer tokens of an OpenID Connect issuer: which are taken, and when its keys are asked for."""

import hmac
import json
import threading
from base64 import urlsafe_b64encode
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from guarded import Guarded, with_token

from api.door.auth import FRESH_MS, RETRY_MS, BearerTokens, Issuer, TokenRefused, fetch_json
from tidemill.clock import FakeClock

SCORE, NOW_MS = "/v1/score", 1_400_000_000_000
URL, AUDIENCE = "https://login.example", "tidemill-api"
ISSUER = Issuer(URL, AUDIENCE, f"{URL}/keys")
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: Any, name: str, **more: Any) -> dict[str, Any]:
    """The public half of a key as an issuer publishes it."""
    kinds = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    kind = next(kind for of, kind in kinds.items() if isinstance(key, of))
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": name, **more}


class IssuerOfTests:
    """An issuer with one key, which counts how often it is asked; `down` does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keys = [jwk(KEY, "k1")]
        self.down = False

    def __call__(self, address: str) -> Any:
        """The JSON at an address."""
        self.asked.append(address)
        if self.down:
            raise OSError("connection refused")
        if address.endswith("openid-configuration"):
            return {"issuer": URL, "jwks_uri": f"{URL}/found"}
        return {"keys": self.keys}


def claims(**changed: Any) -> dict[str, Any]:
    """What a good token says, with changes; None takes a claim away."""
    found = {
        "iss": URL, "aud": AUDIENCE, "sub": "shop", "exp": NOW_MS // 1000 + 600,
        "scope": "openid tidemill:score",
    } | changed  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def token(key: Any = KEY, name: str | None = "k1", algorithm: str = "RS256", **changed: Any) -> str:
    """A signed token."""
    headers = {} if name is None else {"kid": name}
    return jwt.encode(claims(**changed), key, algorithm, headers=headers)


@pytest.fixture
def issuer() -> IssuerOfTests:
    """The issuer."""
    return IssuerOfTests()


@pytest.fixture
def clock() -> FakeClock:
    """Time set by hand."""
    return FakeClock(NOW_MS)


@pytest.fixture
def tokens(issuer: IssuerOfTests, clock: FakeClock) -> BearerTokens:
    """What checks tokens of that issuer."""
    return BearerTokens(ISSUER, clock, issuer)


async def test_a_token_scores(served, caller_of, issuer, request_body):
    """With the scope in its claim; the caller is its subject."""
    guarded = Guarded(served, BearerTokens(ISSUER, served.clock, issuer))
    ask, body = caller_of(guarded.app), msgspec.json.encode(request_body)
    assert 401 == (await ask("POST", SCORE, body)).status
    for _ in range(3):
        assert 200 == (await ask("POST", SCORE, body, headers=with_token(token()))).status
    assert 1 == len(issuer.asked)
    reply = await ask("GET", "/v1/status", headers=with_token(token()))
    assert (403, "score") == (reply.status, reply.json["found"])
    reply = await ask("POST", SCORE, body, headers=with_token(token(aud="another")))
    assert (401, "a token that is refused: InvalidAudienceError") == (
        reply.status, reply.json["found"],
    )  # fmt: skip


async def test_keys_and_tokens_stand_beside_each_other(served, caller_of, issuer, request_body):
    """Either will do where both are declared."""
    guarded = Guarded(served, BearerTokens(ISSUER, served.clock, issuer))
    ask, body = caller_of(guarded.app), msgspec.json.encode(request_body)
    for text in (guarded.key("score"), token()):
        assert 200 == (await ask("POST", SCORE, body, headers=with_token(text))).status


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["rsa", "ec", "ed25519"],
)
async def test_each_kind_of_public_key_is_taken(tokens, issuer, key, algorithm):
    """RSA, elliptic curves and Edwards curves."""
    issuer.keys.append(jwk(key, "other"))
    caller = await tokens.check(token(key, "other", algorithm).encode())
    assert ("oidc:shop", {"score"}) == (caller.id, caller.scopes)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exp": NOW_MS // 1000 - 31}, "expired"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"exp": "soon"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": 10**18}, "exp"),
        ({"nbf": NOW_MS // 1000 + 31}, "not valid yet"),
        ({"iss": "https://evil.example"}, "InvalidIssuerError"),
        ({"iss": None}, "MissingRequiredClaimError"),
        ({"aud": "another"}, "InvalidAudienceError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"sub": None}, "MissingRequiredClaimError"),
        ({"sub": ""}, "sub"),
        ({"sub": "a\nb"}, "sub"),
        ({"sub": "x" * 201}, "sub"),
    ],
)
async def test_what_a_token_says_is_checked(tokens, changed, why):
    """Times with half a minute of leeway, issuer, audience, and that there is a subject."""
    with pytest.raises(TokenRefused, match=f"^{why}$"):
        await tokens.check(token(**changed).encode())


async def test_a_token_without_a_signature_is_refused(tokens):
    """The algorithm `none` is none."""
    with pytest.raises(TokenRefused):
        await tokens.check(jwt.encode(claims(), None, "none", headers={"kid": "k1"}).encode())


async def test_a_token_signed_with_the_public_key_is_refused(tokens):
    """What everybody knows is no secret to sign with (RFC 8725, section 2.1)."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "kid": "k1", "typ": "JWT"}
    said = (json.dumps(each).encode() for each in (header, claims()))
    parts = [urlsafe_b64encode(each).rstrip(b"=") for each in said]
    signature = hmac.digest(public, b".".join(parts), "sha256")
    forged = b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")])
    with pytest.raises(TokenRefused, match="InvalidAlgorithmError"):
        await tokens.check(forged)


async def test_a_shared_secret_of_the_issuer_is_no_key(tokens, issuer):
    """A symmetric key in the issuer's set is passed over."""
    issuer.keys.append({"kty": "oct", "kid": "secret", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"})
    forged = jwt.encode(claims(), b"secret" * 6, "HS256", headers={"kid": "secret"})
    with pytest.raises(TokenRefused, match="unknown key"):
        await tokens.check(forged.encode())


async def test_another_key_signs_nothing(tokens):
    """A token signed by a key that only bears the name of the issuer's."""
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(TokenRefused, match="InvalidSignatureError"):
        await tokens.check(token(other).encode())


@pytest.mark.parametrize("text", [b"", b"a.b.c", b"..", b"\xff" * 100, b"eyJ9.eyJ9.x", b"." * 999])
async def test_what_is_no_token_is_refused(tokens, text):
    """Whatever it is."""
    with pytest.raises(TokenRefused):
        await tokens.check(text)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("tidemill:score tidemill:admin", {"score", "admin"}),
        (["tidemill:label", 7, "other"], {"label"}),
        ("score admin", set()),
        ("tidemill:everything", set()),
        (None, set()),
        ({"tidemill:score": 1}, set()),
    ],
)
async def test_scopes_are_those_with_our_prefix(tokens, claim, expected):
    """Another service's words mean nothing here."""
    assert expected == (await tokens.check(token(scope=claim).encode())).scopes


async def test_claim_and_prefix_are_declared(issuer, clock):
    """As issuers differ in how they name them."""
    tokens = BearerTokens(replace(ISSUER, claim="roles", prefix=""), clock, issuer)
    assert {"read"} == (await tokens.check(token(roles=["read"]).encode())).scopes


async def test_a_token_ends_while_it_is_remembered(tokens, clock):
    """What was checked is not known for longer than the token goes."""
    from hashlib import sha256

    text = token(exp=NOW_MS // 1000 + 10).encode()
    await tokens.check(text)
    digest = sha256(text).digest()
    clock.advance(39_999)
    assert tokens.find(digest) is not None
    clock.advance(1)
    assert tokens.find(digest) is None
    with pytest.raises(TokenRefused, match="expired"):
        await tokens.check(text)


async def test_unknown_keys_are_asked_for_twice_a_minute_at_most(tokens, issuer, clock):
    """Made-up key names do not make the api flood its issuer."""
    await tokens.check(token().encode())
    clock.advance(RETRY_MS)
    for number in range(50):
        with pytest.raises(TokenRefused, match="unknown key"):
            await tokens.check(token(name=f"k{number + 2}").encode())
    assert 2 == len(issuer.asked)


async def test_a_new_key_of_the_issuer_is_found(tokens, issuer, clock):
    """Keys change without a restart, and one that was taken back vouches for nobody."""
    await tokens.check(token().encode())
    new = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer.keys = [jwk(new, "k2")]
    clock.advance(RETRY_MS)
    await tokens.check(token(new, "k2").encode())
    with pytest.raises(TokenRefused, match="unknown key"):
        await tokens.check(token(sub="another").encode())


async def test_an_issuer_that_is_away_keeps_its_keys(tokens, issuer, clock):
    """Tokens of known keys are taken; without any key yet none is."""
    issuer.down = True
    with pytest.raises(TokenRefused, match="the issuer's keys are not there"):
        await tokens.check(token().encode())
    issuer.down = False
    clock.advance(RETRY_MS)
    await tokens.check(token().encode())
    issuer.down = True
    clock.advance(FRESH_MS + 1)
    text = token(exp=NOW_MS // 1000 + 10_000)
    assert "oidc:shop" == (await tokens.check(text.encode())).id


async def test_a_key_without_a_name_is_the_only_one(tokens, issuer):
    """Where there are two, a token must say which."""
    await tokens.check(token(name=None).encode())
    issuer.keys.append(jwk(KEY, "k2"))
    two = BearerTokens(ISSUER, FakeClock(NOW_MS), issuer)
    with pytest.raises(TokenRefused, match="unknown key"):
        await two.check(token(name=None).encode())


async def test_keys_that_are_for_something_else_are_passed_over(tokens, issuer):
    """A key for encryption signs nothing, and one that cannot be read hinders no other."""
    issuer.keys = [jwk(KEY, "k1", use="enc"), {"kty": "odd"}, "no key", jwk(KEY, "k2", use="sig")]
    await tokens.check(token(name="k2").encode())
    with pytest.raises(TokenRefused, match="unknown key"):
        await tokens.check(token(name="k1").encode())


async def test_a_token_names_no_address(tokens, issuer):
    """Where keys come from is declared: what a token says of it is not followed."""
    headers = {"kid": "k9", "jku": "https://evil.example/keys", "x5u": "https://evil.example/x"}
    forged = jwt.encode(claims(), KEY, "RS256", headers=headers)
    with pytest.raises(TokenRefused, match="unknown key"):
        await tokens.check(forged.encode())
    assert [f"{URL}/keys"] == issuer.asked


async def test_the_keys_are_discovered(issuer, clock):
    """The issuer's own document says where they are, where nothing else does."""
    tokens = BearerTokens(replace(ISSUER, keys=None), clock, issuer)
    await tokens.check(token().encode())
    assert [f"{URL}/.well-known/openid-configuration", f"{URL}/found"] == issuer.asked


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example", "jwks_uri": f"{URL}/keys"},
        {"issuer": URL, "jwks_uri": "http://login.example/keys"},
        {"issuer": URL},
    ],
)
async def test_another_issuers_discovery_is_refused(clock, document):
    """It must name this issuer, and keys that nobody can exchange on the way."""
    asked = []

    def fetch(address: str) -> Any:
        asked.append(address)
        return document

    tokens = BearerTokens(replace(ISSUER, keys=None), clock, fetch)
    with pytest.raises(TokenRefused, match="the issuer's keys are not there"):
        await tokens.check(token().encode())
    assert 1 == len(asked)


class _Answers(BaseHTTPRequestHandler):
    """Answers with JSON, with too much of it, with another kind, or from elsewhere."""

    def do_GET(self) -> None:
        bodies = {"/good": b'{"keys": []}', "/list": b"[]", "/large": b" " * 1_048_577}
        self.send_response(302 if self.path == "/moved" else 200)
        if self.path == "/moved":
            self.send_header("location", "/good")
        self.end_headers()
        self.wfile.write(bodies.get(self.path, b""))

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server():
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_fetched_is_bounded(server):
    """A JSON object of a megabyte at most, and no other address than the one that was declared."""
    assert {"keys": []} == fetch_json(f"{server}/good")
    for path in ("/list", "/large"):
        with pytest.raises(ValueError, match="found"):
            fetch_json(server + path)
    with pytest.raises(OSError, match="302"):
        fetch_json(f"{server}/moved")
    with pytest.raises(OSError, match="refused"):
        fetch_json("http://127.0.0.1:1/")
