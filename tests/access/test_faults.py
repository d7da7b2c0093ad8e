"""What `check`, `status` and `doctor` say about the settings of who may call."""

import os
import subprocess
import sys

import orjson
import pytest
from tests.upstreams.token_issuer import token_issuer

from utcp_bridge.access.faults import access_faults
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.cli import exits
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


@pytest.mark.parametrize("verb", ["check", "status", "doctor"])
def test_the_verbs_report_them(verb, tmp_path):
    (tmp_path / "tokens.json").write_text("{}")
    config = {"manual_call_templates": [], "bridge": {"access": {"tokens_file": "tokens.json"}}}
    (tmp_path / "utcp.json").write_bytes(orjson.dumps(config))
    program = [sys.executable, "-m", "utcp_bridge", verb, "utcp.json"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == exits.CONFIGURATION
    assert "access.tokens_file: The file of tokens" in done.stdout + done.stderr
