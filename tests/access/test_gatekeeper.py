"""Who a request comes from: named tokens and the shared token. Tokens of OAuth have a file of their own."""

import os
import time
from pathlib import Path

import pytest
from tests.upstreams.token_issuer import token_issuer

from utcp_bridge.access import gatekeeper
from utcp_bridge.access.challenges import Challenger, Refused
from utcp_bridge.access.gatekeeper import Gatekeeper, gatekeeper_for
from utcp_bridge.access.principals import Principal
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
SHARED = "s" * 32


@pytest.fixture
def tokens(tmp_path):
    return TokenFile(tmp_path / "tokens.json")


def with_token(value):
    return [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer " + value.encode())]


async def refused(keeper, headers, **scope):
    with pytest.raises(Refused) as raised:
        await keeper.recognise(headers, scope)
    return raised.value


async def test_a_named_token_is_its_principal_each_time_the_same(tokens):
    made = tokens.add("ci", scopes=["read"], profiles=["p"])
    keeper = Gatekeeper(shared=SHARED, tokens=tokens)
    first = await keeper.recognise(with_token(made.value), {})
    assert first.principal == Principal("token:ci", "token", frozenset({"read"}), ("p",))
    assert keeper.known(with_token(made.value), "") is first
    assert (await keeper.recognise(with_token(SHARED), {})).principal.kind == "shared"


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ([], 401, ""),
        ([(b"authorization", b"Bearer wrong")], 401, "invalid_token"),
        ([(b"authorization", b"Basic " + SHARED.encode())], 401, "invalid_token"),
        ([(b"authorization", b"Bearer")], 401, "invalid_token"),
        ([(b"authorization", b"Bearer " + SHARED.encode())] * 2, 401, "invalid_token"),
        ([(b"authorization", b"Bearer utcpb_aaaaaaaa_" + b"x" * 43)], 401, "invalid_token"),
    ],
)
async def test_a_request_without_a_valid_token_gets_401(tokens, headers, status, error):
    tokens.add("ci")
    keeper = Gatekeeper(shared=SHARED, tokens=tokens)
    assert keeper.known(headers, "") is None
    found = await refused(keeper, headers)
    assert (found.status, found.error) == (status, error)
    remedy = "Ask the operator of this server" if error else "Send one as the header `Authorization: Bearer TOKEN`."
    assert found.document()["error"] == "unauthorized"
    assert remedy in found.document()["message"]
    assert SHARED not in str(found.document())


async def test_a_token_in_the_url_is_refused_also_next_to_a_valid_one(tokens):
    made = tokens.add("ci")
    keeper = Gatekeeper(tokens=tokens)
    found = await refused(keeper, with_token(made.value), query_string=b"access_token=" + made.value.encode())
    assert (found.status, found.error) == (400, "invalid_request")
    assert made.value not in str(found.document())


async def test_a_change_of_the_file_counts_at_the_next_request(tokens):
    first = tokens.add("ci")
    keeper = Gatekeeper(tokens=tokens)
    admission = keeper.known(with_token(first.value), "")
    late = tokens.add("late")
    assert (await keeper.recognise(with_token(late.value), {})).principal.name == "token:late"
    assert keeper.known(with_token(first.value), "") is admission, "a change of other lines leaves an admission"
    tokens.revoke("ci")
    assert not keeper.still(admission, "")
    assert not admission.holds()
    assert (await refused(keeper, with_token(first.value))).status == 401


async def test_an_expired_token_is_refused_although_the_file_has_not_changed(tokens):
    made, ended = tokens.add("ci", expires=time.time() + 3_600), tokens.add("ended", expires=time.time() - 1)
    keeper = Gatekeeper(tokens=tokens)
    assert (await refused(keeper, with_token(ended.value))).error == "invalid_token"
    admission = keeper.known(with_token(made.value), "")
    assert keeper.still(admission, "")
    assert admission.expires == admission.fresh_until
    admission.expires = admission.fresh_until = time.time() - 1
    assert not keeper.still(admission, "")
    assert not admission.holds()


async def test_after_a_rotation_both_secrets_are_the_same_principal(tokens):
    first = tokens.add("ci").value
    keeper = Gatekeeper(tokens=tokens)
    before = keeper.known(with_token(first), "")
    second = tokens.rotate("ci", 3_600).value
    assert keeper.known(with_token(first), "") is before
    assert keeper.known(with_token(second), "").principal == before.principal
    tokens.rotate("ci", 0)
    assert (await refused(keeper, with_token(first))).status == 401
    assert (await refused(keeper, with_token(second))).status == 401


async def test_a_file_that_is_damaged_later_leaves_the_tokens_and_one_that_is_gone_leaves_none(tokens, caplog):
    made = tokens.add("ci")
    keeper = Gatekeeper(tokens=tokens)
    tokens.path.write_text("{")
    assert keeper.known(with_token(made.value), "") is not None
    assert "The tokens that were read before stay valid." in caplog.text
    tokens.path.unlink()
    assert (await refused(keeper, with_token(made.value))).status == 401


def test_a_file_that_others_may_write_or_that_is_damaged_ends_the_start(tokens):
    tokens.add("ci")
    if os.name != "nt":
        tokens.path.chmod(0o620)
        with pytest.raises(ConfigError, match=r"Others may write .*chmod 600"):
            Gatekeeper(tokens=tokens)
        tokens.path.chmod(0o600)
    tokens.path.write_text("[]")
    with pytest.raises(ConfigError, match="not a file of tokens"):
        Gatekeeper(tokens=tokens)


async def test_too_little_scope_is_403_with_the_scopes_that_are_needed(tokens):
    some, all_ = tokens.add("some", scopes=["a"]), tokens.add("all", scopes=["a", "b"])
    keeper = Gatekeeper(shared=SHARED, tokens=tokens, challenger=Challenger("https://x/mcp", None, ("a", "b")))
    found = await refused(keeper, with_token(some.value))
    assert (found.status, found.error, found.scopes) == (403, "insufficient_scope", ("a", "b"))
    assert keeper.challenge(found) == b'Bearer realm="utcp-bridge", error="insufficient_scope", scope="a b"'
    assert keeper.known(with_token(some.value), "") is None
    assert await keeper.recognise(with_token(all_.value), {})
    assert await keeper.recognise(with_token(SHARED), {}), "the shared token has no scopes"


async def test_a_hook_may_need_more_scopes_for_a_request(tokens):
    made = tokens.add("ci", scopes=["a"])
    keeper = Gatekeeper(tokens=tokens)
    keeper.needed = lambda scope, _principal: {"b"} if scope["path"] == "/mcp/p/x" else ()
    assert await keeper.recognise(with_token(made.value), {"path": "/mcp"})
    assert (await refused(keeper, with_token(made.value), path="/mcp/p/x")).scopes == ("b",)


async def test_the_day_of_use_is_noted_for_used_tokens_alone(tokens):
    used = tokens.add("used")
    tokens.add("idle")
    keeper = Gatekeeper(tokens=tokens)
    noted = {}
    assert await keeper.note_uses(noted)
    assert tokens.used() == {}
    await keeper.recognise(with_token(used.value), {})
    assert await keeper.note_uses(noted)
    assert [*tokens.used()] == ["used"]


def test_without_a_way_to_recognise_callers_anyone_may_call():
    assert gatekeeper_for(BridgeSettings(), "http://127.0.0.1/mcp", Path()).is_open
    assert not gatekeeper_for(BridgeSettings(bearer_token=SHARED), "http://127.0.0.1/mcp", Path()).is_open


def test_a_token_is_not_in_the_repr_of_what_recognises_it(tokens):
    made = tokens.add("ci")
    assert made.value not in repr(made)


def test_a_start_without_any_token_is_in_the_log_with_the_verb_that_makes_one(tokens, caplog):
    Gatekeeper(shared=SHARED, tokens=tokens)
    assert not caplog.records
    Gatekeeper(tokens=tokens)
    [line] = caplog.messages
    assert line == f"{tokens.path} has no token, so nobody can call. `utcp-bridge token add NAME` makes one."
    tokens.add("ci")
    Gatekeeper(tokens=tokens)
    assert len(caplog.messages) == 1


def test_a_header_that_is_known_is_judged_again_when_the_file_changes_and_never_in_parts(tokens):
    made = tokens.add("ci", scopes=["read"])
    keeper = Gatekeeper(tokens=tokens, challenger=Challenger("", None, ("read",)))
    right = (b"authorization", b"Bearer " + made.value.encode())
    admission = keeper.known([right], "")
    assert admission is not None
    assert keeper.known([(b"host", b"x"), right], "") is admission
    wrong = (b"authorization", right[1][:-1] + (b"A" if right[1][-1:] != b"A" else b"B"))
    for headers in ([right, right], [right, wrong], [wrong], [(b"authorization", right[1].lower())], []):
        assert keeper.known(headers, "") is None, headers
    tokens.revoke("ci")
    assert keeper.known([right], "") is None
    narrow = tokens.add("narrow")
    for _ in range(2):
        assert keeper.known([(b"authorization", b"Bearer " + narrow.value.encode())], "") is None, "it lacks a scope"


def test_a_bounded_number_of_headers_is_known(tokens, monkeypatch):
    monkeypatch.setattr(gatekeeper, "_MAX_RECENT", 2)
    keeper = Gatekeeper(tokens=tokens)
    for number in range(5):
        value = tokens.add(f"t{number}").value.encode()
        assert keeper.known([(b"authorization", b"Bearer " + value)], "") is not None
        assert keeper.known([(b"authorization", b"Bearer " + b" " * 5000 + value)], "") is not None
        assert len(keeper._recent) <= 2
        assert max(map(len, keeper._recent)) < 100


@pytest.mark.parametrize(
    ("changes", "status", "ended"),
    [
        ({"oauth_audience": ("https://other.example.com",)}, 401, False),
        ({"oauth_issuer": None, "oauth_resource": None, "bearer_token": SHARED}, 401, True),
        ({"required_scopes": ("write",)}, 403, False),
    ],
    ids=["another audience", "no issuer", "more scopes"],
)
async def test_a_token_of_oauth_is_judged_by_the_settings_of_now(changes, status, ended):
    async with token_issuer() as issuer:
        own = {"oauth_issuer": issuer.url, "oauth_resource": "https://bridge.example.com/mcp"}
        keeper = gatekeeper_for(BridgeSettings(**own), "", Path())
        headers = with_token(issuer.signed(aud=own["oauth_resource"], scope="read"))
        admission = await keeper.recognise(headers, {})
        assert keeper.known(headers, "") is admission
        keeper.take_over(gatekeeper_for(BridgeSettings(**own, retries=0), "", Path()))
        assert keeper.known(headers, "") is admission, "what decides about it is as it was"
        keeper.take_over(gatekeeper_for(BridgeSettings(**{**own, **changes}), "", Path()))
        assert (admission.holds(), admission.ended) == (False, ended)
        assert keeper.known(headers, "") is None
        assert (await refused(keeper, headers)).status == status
        await keeper.aclose()


async def test_other_profiles_of_certificates_count_at_once():
    def keeper_of(**profiles):
        return Gatekeeper(wants_certificate=True, of_certificates=profiles)

    scope = {"state": {"client_certificate": "a.ops"}}
    keeper = keeper_of(**{"*.ops": ["operators"]})
    before = await keeper.recognise([], scope)
    keeper.take_over(keeper_of(**{"*.ops": ["operators"], "*.dev": ["others"]}))
    assert await keeper.recognise([], scope) is before
    keeper.take_over(keeper_of(**{"*.ops": ["readers"]}))
    assert not before.holds()
    assert (await keeper.recognise([], scope)).principal.profiles == ("readers",)


async def test_the_end_of_a_time_without_tokens_is_reported_once():
    keeper, closed = Gatekeeper(), []
    keeper.on_close = lambda: closed.append(keeper.is_open)
    keeper.take_over(Gatekeeper(shared=SHARED))
    keeper.take_over(Gatekeeper(shared=SHARED + "2"))
    assert closed == [False]
    assert (await refused(keeper, with_token(SHARED))).status == 401
