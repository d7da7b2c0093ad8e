"""`utcp-bridge logout`, as a process."""

import pytest
from tests.support.login_program import configured, ran
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

pytestmark = pytest.mark.anyio


async def test_a_logout_revokes_the_tokens_here_and_there(tmp_path):
    async with oauth_mcp_service() as service:
        configured(tmp_path, {"name": "notes", "call_template_type": "mcp", "server_url": service.url})
        await ran(tmp_path, "login", "notes")
        assert service.access
        ended = await ran(tmp_path, "logout", "notes")
        assert (ended.returncode, ended.stdout) == (0, f"Logged out of {service.url}.\n")
        assert not service.access
        again = await ran(tmp_path, "logout", "notes")
        assert (again.returncode, again.stdout) == (0, "")
        assert "notes has no login." in again.stderr
