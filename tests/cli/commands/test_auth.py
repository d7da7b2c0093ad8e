"""`utcp-bridge auth status`, as a process."""

import json

import pytest
from tests.support.login_program import configured, ran
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

pytestmark = pytest.mark.anyio


async def test_every_login_has_a_row_without_its_tokens(tmp_path):
    async with oauth_mcp_service() as service:
        configured(tmp_path, {"name": "notes", "call_template_type": "mcp", "server_url": service.url})
        nothing = await ran(tmp_path, "auth", "status")
        assert "has no logins." in nothing.stderr
        await ran(tmp_path, "login", "notes")
        shown = await ran(tmp_path, "auth", "status")
        [head, row] = [line.split() for line in shown.stdout.splitlines()]
        assert head == ["MANUAL", "SERVICE", "ISSUER", "STATUS", "UNTIL"]
        assert row[:4] == ["notes", service.url, service.issuer, "valid"]
        listed = await ran(tmp_path, "auth", "status", "--json")
        [login] = json.loads(listed.stdout)["logins"]
        assert (login["scope"], login["ended"], login["renewable"]) == ("notes", False, True)
        assert not [token for token in service.issued if token in shown.stdout + listed.stdout]
