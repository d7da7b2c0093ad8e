"""Tokens of an OAuth authorization server: JWTs and opaque tokens, against a real server on loopback."""

import base64
import hmac
import time
from urllib.parse import parse_qs, urlsplit

import httpx2
import orjson
import pytest
from joserfc.jwk import ECKey, RSAKey
from mcp.client.auth import OAuthClientProvider
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata
from tests.support.hot_requests import bridge
from tests.support.served_here import serve
from tests.upstreams.token_issuer import CLIENT, SECRET, token_issuer

from utcp_bridge.access.challenges import Refused
from utcp_bridge.access.oauth import OAuthTokens
from utcp_bridge.access.principals import Principal
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
RESOURCE = "https://bridge.example.com/mcp"


OPEN = []


@pytest.fixture
async def issuer():
    async with token_issuer() as server:
        yield server
        while OPEN:
            await OPEN.pop().aclose()


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


def judge(issuer, clock=None, **more):
    settings = BridgeSettings(oauth_issuer=issuer.url, **more)
    tokens = OAuthTokens(settings, RESOURCE, clock or Clock())
    OPEN.append(tokens)
    return tokens


def introspecting(issuer, **more):
    own = {"oauth_client_id": CLIENT, "oauth_client_secret": SECRET, **more}
    return judge(issuer, oauth_introspection_url=f"{issuer.url}/introspect", **own)


async def admitted(tokens, token):
    found = await tokens.examine(token.encode())
    return None if found is None else found.principal


@pytest.mark.parametrize("kind", ["EC", "RSA"])
@pytest.mark.parametrize("aud", [RESOURCE, f"{RESOURCE}/", ["https://other.example.com", RESOURCE]])
async def test_a_jwt_of_the_issuer_for_this_resource_is_a_principal(issuer, kind, aud):
    issuer.rotate(kind)
    found = await admitted(judge(issuer), issuer.signed(aud=aud, scope="read write"))
    assert found == Principal(f"oauth:alice@{issuer.url}", "oauth", frozenset({"read", "write"}), None)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example.com/mcp"},
        {"aud": None},
        {"aud": "https://bridge.example.com"},
        {"aud": [1, {}]},
        {"iss": "https://other.example.com"},
        {"iss": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": 10**400},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": "a\nb"},
        {"sub": "a" * 300},
        {"cnf": {"jkt": "x"}},
    ],
    ids=str,
)
async def test_a_jwt_with_another_claim_is_refused(issuer, claims):
    tokens = judge(issuer)
    assert await admitted(tokens, issuer.signed(**{"aud": RESOURCE, **claims})) is None
    assert await admitted(tokens, issuer.signed(aud=RESOURCE)) is not None


async def test_the_clocks_of_two_machines_may_differ_a_little(issuer):
    tokens, now = judge(issuer), int(time.time())
    assert await admitted(tokens, issuer.signed(aud=RESOURCE, nbf=now + 30, exp=now - 20)) is not None


async def test_a_signature_that_the_published_keys_have_not_made_is_refused(issuer):
    tokens, right = judge(issuer), issuer.keys[0]
    stranger = ECKey.generate_key("P-256", {"kid": right.kid})
    assert await admitted(tokens, issuer.signed(stranger, aud=RESOURCE)) is None
    other = RSAKey.generate_key(2048, {"kid": right.kid})
    assert await admitted(tokens, issuer.signed(other, aud=RESOURCE)) is None
    good = issuer.signed(aud=RESOURCE)
    for place in (5, len(good) // 2, -5):
        damaged = good[:place] + ("A" if good[place] != "A" else "B") + good[place:][1:]
        assert await admitted(tokens, damaged) is None, place
    assert await admitted(tokens, good) is not None


def part(value):
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


async def test_no_algorithm_but_signatures_with_public_keys_is_accepted(issuer):
    """`none`, and HMAC with the text of a public key as its secret (RFC 8725, section 2.1)."""
    issuer.rotate("RSA")
    tokens, key = judge(issuer), issuer.keys[0]
    claims = {"iss": issuer.url, "sub": "alice", "aud": RESOURCE, "exp": int(time.time()) + 600}
    unsigned = f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{part(claims)}."
    assert await admitted(tokens, unsigned) is None
    for text in (key.as_pem(private=False), orjson.dumps(key.as_dict(private=False))):
        signed = f"{part({'alg': 'HS256', 'kid': key.kid})}.{part(claims)}"
        mac = base64.urlsafe_b64encode(hmac.digest(text, signed.encode(), "sha256")).decode().rstrip("=")
        assert await admitted(tokens, f"{signed}.{mac}") is None
    assert issuer.hits["/jwks"] == 0, "such a token costs no request"


@pytest.mark.parametrize("typ", ["dpop+jwt", "logout+jwt", "secevent+jwt"])
async def test_a_jwt_for_another_use_is_refused(issuer, typ):
    assert await admitted(judge(issuer), issuer.signed(header={"typ": typ}, aud=RESOURCE)) is None


async def test_keys_are_fetched_once_and_again_for_a_new_key_but_not_for_each_unknown_one(issuer):
    clock = Clock()
    tokens = judge(issuer, clock)
    old = issuer.keys[0]
    assert await admitted(tokens, issuer.signed(aud=RESOURCE)) is not None
    assert await admitted(tokens, issuer.signed(aud=RESOURCE, sub="bob")) is not None
    assert issuer.hits["/jwks"] == 1
    issuer.rotate()
    clock.now += 11
    assert await admitted(tokens, issuer.signed(aud=RESOURCE)) is not None
    assert await admitted(tokens, issuer.signed(old, aud=RESOURCE, sub="carol")) is None
    assert issuer.hits["/jwks"] == 2
    for number in range(20):
        unknown = ECKey.generate_key("P-256", {"kid": f"k{number}"})
        assert await admitted(tokens, issuer.signed(unknown, aud=RESOURCE)) is None
    assert issuer.hits["/jwks"] == 2


async def test_known_keys_are_used_while_the_issuer_is_down_and_without_keys_the_answer_is_503(issuer, caplog):
    clock = Clock()
    tokens = judge(issuer, clock)
    assert await admitted(tokens, issuer.signed(aud=RESOURCE)) is not None
    issuer.is_down = True
    clock.now += 3_600
    assert await admitted(tokens, issuer.signed(aud=RESOURCE, sub="bob")) is not None
    assert "could not be fetched" in caplog.text
    clock.now += 86_400
    with pytest.raises(Refused) as raised:
        await tokens.examine(issuer.signed(aud=RESOURCE, sub="carol").encode())
    assert raised.value.status == 503
    fresh = judge(issuer)
    with pytest.raises(Refused) as raised:
        await fresh.examine(issuer.signed(aud=RESOURCE).encode())
    assert raised.value.status == 503


async def test_metadata_of_another_issuer_gives_no_keys(issuer):
    issuer.claimed = "https://other.example.com"
    with pytest.raises(Refused) as raised:
        await judge(issuer).examine(issuer.signed(aud=RESOURCE).encode())
    assert raised.value.status == 503
    assert issuer.hits["/jwks"] == 0


async def test_a_verdict_is_kept_for_the_same_token_alone(issuer):
    tokens = judge(issuer)
    first, second = issuer.signed(aud=RESOURCE), issuer.signed(aud=RESOURCE, sub="bob")
    assert tokens.known(first.encode()) is None
    admission = await tokens.examine(first.encode())
    assert tokens.known(first.encode()) is admission
    assert tokens.known(second.encode()) is None
    admission.fresh_until = 0
    assert tokens.known(first.encode()) is None
    assert await tokens.examine(first.encode()) is admission, "sessions keep their admission"


async def test_an_opaque_token_is_examined_at_the_issuer_and_its_end_is_noticed(issuer):
    tokens = introspecting(issuer)
    token = issuer.opaque(aud=RESOURCE, scope="write")
    admission = await tokens.examine(token.encode())
    assert admission.principal.scopes == {"write"}
    assert tokens.known(token.encode()) is admission
    issuer.opaque_tokens[token]["active"] = False
    admission.fresh_until = 0
    assert await tokens.examine(token.encode()) is None
    assert admission.ended
    before = issuer.hits["/introspect"]
    assert await tokens.examine(token.encode()) is None
    assert issuer.hits["/introspect"] == before, "a refused token is not examined again at once"


@pytest.mark.parametrize(
    "claims", [{"aud": "https://x.example"}, {"iss": "https://x.example"}, {"exp": 1}, {"aud": None}]
)
async def test_an_active_opaque_token_for_others_is_refused(issuer, claims):
    tokens = introspecting(issuer)
    assert await admitted(tokens, issuer.opaque(**{"aud": RESOURCE, **claims})) is None
    assert await admitted(tokens, issuer.opaque(aud=RESOURCE)) is not None


async def test_an_issuer_that_refuses_the_bridge_is_503_and_the_log_names_the_setting(issuer, caplog):
    tokens = introspecting(issuer, oauth_client_secret="another secret")
    with pytest.raises(Refused) as raised:
        await tokens.examine(issuer.opaque(aud=RESOURCE).encode())
    assert raised.value.status == 503
    assert "oauth.client_id" in caplog.text
    assert "another secret" not in caplog.text


async def test_short_and_long_tokens_and_opaque_ones_without_introspection_cost_no_request(issuer):
    tokens = introspecting(issuer)
    for token in ("short", "x" * 20_000):
        assert await tokens.examine(token.encode()) is None
    assert await judge(issuer).examine(b"x" * 40) is None
    assert not issuer.hits


def test_introspection_needs_a_client_of_the_bridge():
    with pytest.raises(ConfigError, match=r"oauth\.introspection_url.*oauth\.client_secret_file"):
        OAuthTokens(BridgeSettings(oauth_issuer="https://x", oauth_introspection_url="https://x/i"), RESOURCE)


async def test_profiles_come_from_scopes_and_claims_by_globs(issuer):
    rules = {"tools:*": ["readers"], "groups=ops-*": ["operators", "readers"], "sub=Alice": ["never"]}
    tokens = judge(issuer, oauth_profiles=rules)
    found = await admitted(tokens, issuer.signed(aud=RESOURCE, scope="tools:read", groups=["dev", "ops-eu"]))
    assert found.profiles == ("readers", "operators")
    assert (await admitted(tokens, issuer.signed(aud=RESOURCE, scope="else"))).profiles == ()


async def test_an_audience_of_the_operators_choice_replaces_the_resource(issuer):
    tokens = judge(issuer, oauth_audience=["api://bridge"])
    assert await admitted(tokens, issuer.signed(aud="api://bridge")) is not None
    assert await admitted(tokens, issuer.signed(aud=RESOURCE)) is None


# --- a bridge, and the SDK's own client ----------------------------------------------------------


class Memory:
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


async def logged_in_call(url, tool, arguments):
    """Call a tool with the client of the SDK, which logs in first. Return its result, and the query of the login."""
    seen = {}
    storage = Memory()

    async def open_page(address):
        async with httpx2.AsyncClient() as browser:
            seen["query"] = parse_qs(urlsplit(address).query)
            answer = await browser.get(address, follow_redirects=False)
            seen["answer"] = parse_qs(urlsplit(answer.headers["location"]).query)

    async def come_back():
        from mcp.client.auth import AuthorizationCodeResult

        answer = seen["answer"]
        return AuthorizationCodeResult(code=answer["code"][0], state=answer["state"][0], iss=answer["iss"][0])

    provider = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="test", redirect_uris=["http://127.0.0.1:1/callback"], token_endpoint_auth_method="none"
        ),
        storage=storage,
        redirect_handler=open_page,
        callback_handler=come_back,
    )
    async with (
        httpx2.AsyncClient(auth=provider, timeout=200) as http,
        streamable_http_client(url, http_client=http) as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()
        return await session.call_tool(tool, arguments), seen["query"]


async def test_the_sdks_client_finds_the_issuer_logs_in_and_calls(issuer):
    """RFC 9728 from the 401 on: metadata, registration, code with PKCE and resource, token, call."""

    async def work(url):
        result, query = await logged_in_call(url, "m_echo", {"n": 5})
        assert not result.is_error
        assert query["resource"] == [url]
        assert query["scope"] == ["read"]

    await serve(bridge(oauth_issuer=issuer.url, required_scopes=["read"]), work)


async def test_statuses_and_headers_are_those_of_the_specification(issuer):
    async def work(url):
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        place = f"{base}/.well-known/oauth-protected-resource/mcp"
        challenge = f'resource_metadata="{place}", scope="read"'
        async with httpx2.AsyncClient(timeout=200) as http:

            async def ask(token=None, address=url):
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
                found = await http.post(address, json=body, headers=headers)
                return found.status_code, found.headers.get("www-authenticate")

            realm = 'Bearer realm="utcp-bridge"'
            assert await ask() == (401, f"{realm}, {challenge}")
            for wrong in ("x" * 30, issuer.signed(aud="https://other.example.com/mcp"), issuer.signed(aud=url, exp=1)):
                assert await ask(wrong) == (401, f'{realm}, error="invalid_token", {challenge}')
            assert await ask(issuer.signed(aud=url, scope="write")) == (
                403,
                f'{realm}, error="insufficient_scope", {challenge}',
            )
            right = issuer.signed(aud=url)
            assert (await ask(right))[0] == 400, "let in; `ping` needs a session"
            assert await ask(right, f"{url}?access_token={right}") == (400, None)
            for path in ("", "/mcp", "/mcp/p/readers"):
                metadata = (await http.get(f"{base}/.well-known/oauth-protected-resource{path}")).json()
                assert metadata["resource"] == url
                assert metadata["authorization_servers"] == [issuer.url]
                assert metadata["scopes_supported"] == ["read"]
            assert (await http.get(f"{base}/.well-known/oauth-protected-resource/other")).status_code == 401
            issuer.is_down = True
            issuer.rotate()

    await serve(bridge(oauth_issuer=issuer.url, required_scopes=["read"]), work)


async def test_beyond_loopback_the_resource_must_be_named():
    from utcp_bridge.server.http import build_app

    with pytest.raises(ConfigError, match=r"oauth\.resource"):
        build_app(bridge(oauth_issuer="https://login.example.com", host="0.0.0.0"))
    build_app(bridge(oauth_issuer="https://login.example.com", host="0.0.0.0", oauth_resource=RESOURCE))
