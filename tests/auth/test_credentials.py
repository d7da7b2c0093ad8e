"""What `auth` adds to a request, and to which origins it may be sent."""

import pytest

from utcp_bridge.auth.credentials import Additions, Credentials
from utcp_bridge.auth.login import logins as logins_of_persons
from utcp_bridge.auth.login.logins import Logins
from utcp_bridge.auth.login.records import LoginRecord
from utcp_bridge.auth.models import OAuth2Auth, parse_auth
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.errors import ConfigError, PolicyError
from utcp_bridge.model import Source, Trust
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.stores.port import MemoryStore

pytestmark = pytest.mark.anyio

ORIGIN = "https://api.example.com"
KEY = "canary-key-1"
OAUTH = {"token_url": "https://login.example/token", "client_id": "c", "client_secret": "canary-secret"}


class Tokens(TokenCache):
    """Returns tokens from a list, and records the policy of each request."""

    def __init__(self, *tokens):
        self.tokens = list(tokens)
        self.sources = []
        self.dropped = []

    async def get(self, auth, source):
        self.sources.append(source)
        return self.tokens[0]

    def drop(self, auth, token):
        self.dropped.append(token)
        self.tokens.pop(0)


async def placed(auth, url=f"{ORIGIN}/x", headers=()):
    credentials = Credentials(parse_auth(auth), frozenset({ORIGIN}))
    return (await credentials.additions()).placed(url, list(headers))


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        ({"auth_type": "api_key", "api_key": KEY}, [("X-Api-Key", KEY)]),
        ({"api_key": f"Bearer {KEY}", "var_name": "Authorization"}, [("Authorization", f"Bearer {KEY}")]),
        ({"username": "Aladdin", "password": "open sesame"}, [("Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")]),
        ({"auth_type": "basic", "username": "test", "password": "123£"}, [("Authorization", "Basic dGVzdDoxMjPCow==")]),
        ({"auth_type": "basic", "username": "", "password": ""}, [("Authorization", "Basic Og==")]),
        ({"access_token": KEY}, [("Authorization", f"Bearer {KEY}")]),
        ({"auth_type": "oauth2_user", "access_token": KEY, "prefix": "", "var_name": "X-T"}, [("X-T", KEY)]),
        ({"type": "token", "token": KEY}, [("Authorization", f"Bearer {KEY}")]),
        (
            {"auth_type": "all", "schemes": [{"api_key": KEY}, {"token": "abc"}]},
            [("X-Api-Key", KEY), ("Authorization", "Bearer abc")],
        ),
        ({"auth_type": "any", "options": [{"token": "abc"}, {"api_key": KEY}]}, [("Authorization", "Bearer abc")]),
        ({"schemes": [{"options": [{"api_key": KEY}, {"token": "abc"}]}]}, [("X-Api-Key", KEY)]),
    ],
)
async def test_a_scheme_becomes_its_header(auth, headers):
    assert await placed(auth) == (f"{ORIGIN}/x", headers)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("/x", "/x?api%20key=a%26b%3D%2F%3F"),
        ("/x?", "/x?api%20key=a%26b%3D%2F%3F"),
        ("/x?b=1#frag", "/x?b=1&api%20key=a%26b%3D%2F%3F"),
        ("/x?api%20key=forged&b=1&api%20key", "/x?b=1&api%20key=a%26b%3D%2F%3F"),
    ],
)
async def test_a_key_in_the_query_is_encoded_and_replaces_a_forged_one(url, sent):
    auth = {"api_key": "a&b=/?", "var_name": "api key", "location": "query"}
    assert await placed(auth, ORIGIN + url) == (ORIGIN + sent, [])


async def test_cookies_are_merged_into_one_header():
    both = {"schemes": [{"api_key": KEY, "var_name": n, "location": "cookie"} for n in ("a", "b")]}
    _, headers = await placed(both, headers=[("cookie", "z=1"), ("X", "1")])
    assert headers == [("X", "1"), ("Cookie", f"z=1; a={KEY}; b={KEY}")]


async def test_two_query_keys_are_both_sent():
    both = {"schemes": [{"api_key": KEY, "var_name": n, "location": "query"} for n in ("a", "b")]}
    assert (await placed(both))[0] == f"{ORIGIN}/x?a={KEY}&b={KEY}"


async def test_a_header_of_the_same_name_is_replaced():
    _, headers = await placed({"token": "abc"}, headers=[("authorization", "forged"), ("X", "1")])
    assert headers == [("X", "1"), ("Authorization", "Bearer abc")]


def test_no_repr_shows_a_secret():
    auth = parse_auth({"schemes": [{"api_key": KEY}, {"username": "u", "password": KEY}, {"access_token": KEY}]})
    credentials = Credentials(auth, frozenset({ORIGIN}))
    assert KEY not in f"{auth!r} {auth} {credentials!r} {Additions((('A', KEY),), KEY, KEY)!r}"
    assert sorted(credentials.secrets()) == [KEY, KEY, KEY]


def test_credentials_are_refused_for_other_origins():
    credentials = Credentials(parse_auth({"api_key": KEY}), frozenset({ORIGIN}))
    credentials.check(ORIGIN)
    with pytest.raises(PolicyError) as caught:
        credentials.check("https://evil.example")
    assert "https://evil.example" in caught.value.message
    assert ORIGIN in caught.value.message
    assert '"allowed_origins": ["https://evil.example"]' in str(caught.value.remedy)
    with pytest.raises(PolicyError, match="no origin"):
        Credentials(parse_auth({"api_key": KEY}), frozenset()).check(ORIGIN)


async def test_static_credentials_cannot_be_renewed():
    credentials = Credentials(parse_auth({"api_key": KEY}), frozenset({ORIGIN}))
    assert await credentials.renewed(await credentials.additions()) is None


async def test_an_access_token_is_sent_with_static_schemes_and_renewed_on_demand():
    tokens = Tokens("t1", "t2")
    auth = parse_auth({"schemes": [{"api_key": KEY}, OAUTH]})
    credentials = Credentials(auth, frozenset({ORIGIN}), tokens, trust=Trust.OPERATOR)
    first = await credentials.additions()
    assert first.headers == (("X-Api-Key", KEY), ("Authorization", "Bearer t1"))
    assert await credentials.additions() is first
    second = await credentials.renewed(first)
    assert second.headers[-1] == ("Authorization", "Bearer t2")
    assert await credentials.renewed(first) is second
    assert tokens.dropped == ["t1"]


async def test_fixed_credentials_are_held():
    credentials = Credentials(parse_auth({"api_key": KEY}), frozenset({ORIGIN}))
    assert credentials.held() is await credentials.additions()


async def test_the_token_of_a_login_is_held_as_long_as_it_would_be_used_without_a_look(monkeypatch):
    now, pool = 1_000.0, HttpPool(Guard())
    logins = Logins(MemoryStore, clock=lambda: now)
    auth = parse_auth({"auth_type": "oauth2_login", "client_id": "c", "issuer": ORIGIN, "token_url": f"{ORIGIN}/token"})
    credentials = Credentials(auth, frozenset({ORIGIN}), TokenCache(pool, logins=logins), trust=Trust.OPERATOR)
    _, holder = credentials.login
    assert credentials.held() is None
    await logins.save(holder.key, LoginRecord(access_token="t1", stale_at=2_000.0))
    first = await credentials.additions()
    assert credentials.held() is first
    assert first.headers == (("Authorization", "Bearer t1"),)
    now = 2_000.0
    assert credentials.held() is None
    now = 1_500.0
    assert credentials.held() is first
    with monkeypatch.context() as patched:
        patched.setattr(logins_of_persons, "_READ_AGAIN", 0.0)
        assert credentials.held() is None
    logins.refuse(holder.key, "t1")
    assert credentials.held() is None
    await logins.save(holder.key, LoginRecord(access_token="t2"))
    assert credentials.held().headers == (("Authorization", "Bearer t2"),)
    await logins.forget(str(holder.key))
    assert credentials.held() is None
    await pool.aclose()


async def test_a_login_without_a_store_is_not_held():
    auth = parse_auth({"auth_type": "oauth2_login", "client_id": "c", "issuer": ORIGIN, "token_url": f"{ORIGIN}/token"})
    pool = HttpPool(Guard())
    credentials = Credentials(auth, frozenset({ORIGIN}), TokenCache(pool), trust=Trust.OPERATOR)
    assert credentials.held() is None
    with pytest.raises(ConfigError, match="store of logins"):
        await credentials.additions()
    await pool.aclose()


async def test_a_preview_requests_no_access_token():
    tokens = Tokens()
    auth = parse_auth({"schemes": [{"api_key": KEY}, OAUTH]})
    credentials = Credentials(auth, frozenset({ORIGIN}), tokens, trust=Trust.OPERATOR)
    assert credentials.preview().headers == (("X-Api-Key", KEY), ("Authorization", "Bearer ***"))
    static = Credentials(parse_auth({"api_key": KEY}), frozenset({ORIGIN}))
    assert static.preview() == await static.additions()


async def test_the_operators_token_endpoint_is_exempt_from_the_guard_for_its_auth():
    tokens = Tokens("t1")
    source = Source("shop", Trust.REMOTE, origin=ORIGIN, exempt=frozenset({"api.example.com:443"}))
    auth = parse_auth({**OAUTH, "token_url": "http://127.0.0.1:9000/token"})
    await Credentials(auth, frozenset({ORIGIN}), tokens, source=source, trust=Trust.OPERATOR).additions()
    assert tokens.sources[0].exempt == {"api.example.com:443", "127.0.0.1:9000"}
    assert source.exempt == {"api.example.com:443"}


def test_a_fetched_manual_cannot_choose_a_token_url_for_the_secret():
    with pytest.raises(PolicyError, match=r"https://login\.example") as caught:
        Credentials(parse_auth(OAUTH), frozenset({ORIGIN}), Tokens("t1"))
    assert "canary" not in str(caught.value)
    Credentials(parse_auth({**OAUTH, "token_url": f"{ORIGIN}/token"}), frozenset({ORIGIN}), Tokens("t1"))


def test_oauth_without_a_token_cache_is_a_configuration_error():
    assert isinstance(parse_auth(OAUTH), OAuth2Auth)
    with pytest.raises(ConfigError):
        Credentials(parse_auth(OAUTH), frozenset({ORIGIN}), trust=Trust.OPERATOR)


async def test_the_token_url_is_that_of_the_scheme_in_use():
    oauth = {"token_url": "https://id.example.com/token", "client_id": "me", "client_secret": "secret-of-mine"}
    tokens = TokenCache(HttpPool(Guard()))
    both = parse_auth({"auth_type": "all", "schemes": [{"token": "abcdef"}, oauth]})
    assert Credentials(both, frozenset(), tokens, trust=Trust.OPERATOR).token_url == "https://id.example.com/token"
    assert Credentials(parse_auth({"token": "abcdef"}), frozenset()).token_url is None
