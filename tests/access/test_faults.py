"""What `check`, `status` and `doctor` say about the settings of who may call."""

import os
import subprocess
import sys

import orjson
import pytest
from tests.upstreams.token_issuer import token_issuer

from utcp_bridge.access.faults import access_faults, empty_profiles
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.cli import exits
from utcp_bridge.model import Source, Tool
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio


async def faults(root, **settings):
    return await access_faults(BridgeSettings(**settings), root)


async def test_without_such_settings_and_with_sound_ones_there_is_none(tmp_path):
    assert await faults(tmp_path) == []
    TokenFile(tmp_path / "tokens.json").add("ci")
    async with token_issuer() as issuer:
        assert await faults(tmp_path, tokens_file="tokens.json", oauth_issuer=issuer.url) == []


async def test_a_file_of_tokens_is_named_if_it_is_missing_damaged_or_open_to_others(tmp_path):
    path = tmp_path / "tokens.json"
    [missing] = await faults(tmp_path, tokens_file="tokens.json")
    assert (missing.severity, "does not exist" in missing.what) == ("warning", True)
    TokenFile(path).add("ci")
    if os.name != "nt":
        path.chmod(0o644)
        [open_] = await faults(tmp_path, tokens_file="tokens.json")
        assert open_.remedy == f"Run `chmod 600 {path}`."
    path.write_text("{}")
    [damaged] = await faults(tmp_path, tokens_file="tokens.json")
    assert (damaged.severity, str(path) in damaged.what) == ("error", True)


async def test_an_issuer_is_named_if_it_is_another_has_no_keys_or_cannot_be_asked(tmp_path):
    async with token_issuer() as issuer:
        issuer.claimed = "https://other.example.com"
        [other] = await faults(tmp_path, oauth_issuer=issuer.url)
        assert issuer.url in other.what
        assert "https://other.example.com" in other.what
        issuer.claimed = ""
        issuer.keys.clear()
        [empty] = await faults(tmp_path, oauth_issuer=issuer.url)
        assert "publishes no keys" in empty.what
        [wrong] = await faults(tmp_path, oauth_issuer=issuer.url, oauth_jwks_url=f"{issuer.url}/nothing")
        assert "/nothing" in wrong.what
        issuer.is_down = True
        [down] = await faults(tmp_path, oauth_issuer=issuer.url)
        assert (down.where, down.severity) == ("oauth.issuer", "error")
    [gone] = await faults(tmp_path, oauth_issuer=issuer.url)
    assert gone.where == "oauth.issuer"


async def test_a_certificate_that_cannot_be_used_is_named(tmp_path):
    [found] = await faults(tmp_path, tls_certificate="no.pem", tls_key="no.key")
    assert "no.pem" in found.what


async def test_names_of_profiles_that_do_not_exist_are_reported_where_they_are_written(tmp_path):
    TokenFile(tmp_path / "tokens.json").add("ci", profiles=["readers", "gone"])
    settings = {
        "tokens_file": "tokens.json",
        "profiles": {"readers": {"read_only": True}},
        "tls_profiles": {"*.ops": ["operators", "readers"]},
        "oauth_profiles": {"tools:read": ["readers"], "tools:write": ["writers", "admins"]},
    }
    found = [(one.severity, one.where, one.what) for one in await faults(tmp_path, **settings)]
    absent = "which the configuration does not have."
    assert found == [
        ("error", "oauth.profiles", f"'tools:write' gives the profiles 'writers', 'admins', {absent}"),
        ("error", "tls.profiles", f"'*.ops' gives the profile 'operators', {absent}"),
        ("warning", "access.tokens_file", f"The token 'ci' is bound to the profile 'gone', {absent}"),
        ("warning", "tls.profiles", "It has no effect: no client has a certificate."),
    ]  # fmt: skip


async def test_profiles_and_budgets_that_cannot_be_read_are_reported(tmp_path):
    [profile] = await faults(tmp_path, profiles={"readers": {"name": "x"}}, oauth_profiles={"x": ["y"]})
    assert "Profile 'readers'" in profile.what
    [budget] = await faults(tmp_path, budgets={"*": {"rate": 0}})
    assert "Budget '*'" in budget.what


async def test_an_access_log_that_cannot_be_written_is_reported(tmp_path):
    [missing] = await faults(tmp_path, access_log="none/access.jsonl")
    assert (missing.where, "access.jsonl cannot be written" in missing.what) == ("log.access_log", True)
    assert await faults(tmp_path, access_log="-") == []


async def test_an_audit_log_that_cannot_be_written_is_reported_and_not_opened(tmp_path):
    [missing] = await faults(tmp_path, audit_log="none/calls.jsonl")
    assert (missing.where, "calls.jsonl cannot be written" in missing.what) == ("log.audit_log", True)
    [folder] = await faults(tmp_path, audit_log=".")
    assert folder.where == "log.audit_log"
    for place in ("calls.jsonl", "-", "syslog"):
        assert await faults(tmp_path, audit_log=place) == []
    assert [*tmp_path.iterdir()] == []


async def test_a_profile_without_tools_is_named_unless_a_manual_that_it_may_have_is_missing():
    tools = [Tool(Source("shop"), "buy", "text", {})]
    settings = BridgeSettings(
        profiles={"all": {}, "shop": {"manuals": "shop"}, "old": {"names": "shop.sell"}, "far": {"manuals": "far"}}
    )
    assert [one.where for one in empty_profiles(settings, tools, [])] == [
        "access.profiles, 'old'", "access.profiles, 'far'"
    ]  # fmt: skip
    assert [one.where for one in empty_profiles(settings, tools, ["far"])] == []
    assert empty_profiles(BridgeSettings(profiles={"a": {"x": 1}}), tools, []) == []


@pytest.mark.parametrize("verb", ["check", "status", "doctor"])
def test_the_verbs_report_them(verb, tmp_path):
    (tmp_path / "tokens.json").write_text("{}")
    config = {"manual_call_templates": [], "bridge": {"access": {"tokens_file": "tokens.json"}}}
    (tmp_path / "utcp.json").write_bytes(orjson.dumps(config))
    program = [sys.executable, "-m", "utcp_bridge", verb, "utcp.json"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == exits.CONFIGURATION
    assert "access.tokens_file: The file of tokens" in done.stdout + done.stderr
