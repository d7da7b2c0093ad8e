"""One manual, from its entry to its tools, against real servers and commands."""

import sys
from pathlib import Path

import pytest
from tests.upstreams.authorization_server import CLIENT_ID, CLIENT_SECRET, authorization_server
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import answer, faulty_server
from tests.upstreams.http_service import API_KEY, HttpService
from tests.upstreams.socket_service import UdpService

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.doctor import diagnose
from utcp_bridge.doctor.examination import Examination, RemainingNeeds, result_of
from utcp_bridge.doctor.steps import ManualSteps, StepResult
from utcp_bridge.errors import ManualError, Rejected, TokenError, Unreachable
from utcp_bridge.manuals.registration import ManualState
from utcp_bridge.model import Fault
from utcp_bridge.net.guard import Guard
from utcp_bridge.transport import Endpoint, Program

pytestmark = pytest.mark.anyio

MCP_SERVER = str(Path(__file__).parents[1] / "upstreams" / "mcp_server.py")
MANUAL = b'{"utcp_version": "1.0.1", "tools": [{"name": "ok", "tool_call_template": {"call_template_type": "text"}}]}'


async def examine(tmp_path, entry, **config):
    """Return the steps by name."""
    guard, manual = Guard(), ManualSteps("shop", entry["call_template_type"])
    async with await UtcpClient.create(config, root=tmp_path, extensions=Extensions(guard=guard)) as client:
        await Examination(client, guard, {"name": "shop", **entry}, manual).run()
    return {step.name: step for step in manual.steps}


def statuses(steps):
    return {name: step.status for name, step in steps.items()}


def first_failure(steps):
    return next(step for step in steps.values() if step.status == "failed")


async def test_a_good_manual_over_plain_http(tmp_path):
    async with HttpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "http", "url": f"{service.base}/utcp"})
    assert statuses(steps) == {
        "configuration": "ok",
        "name": "ok",
        "connection": "ok",
        "tls": "skipped",
        "auth": "skipped",
        "discovery": "ok",
    }
    assert "tools (v1.x)" in steps["discovery"].message


async def test_a_good_manual_over_https(tmp_path):
    authority = Authority.create(tmp_path)
    async with faulty_server(tls=authority.server_context(days=30)) as server:
        server.answers["/utcp"] = answer(MANUAL)
        entry = {"call_template_type": "http", "url": f"{server.url}/utcp", "ca_cert": "ca.pem"}
        steps = await examine(tmp_path, entry)
    assert steps["tls"].status == "ok"
    assert steps["discovery"].error is None


async def test_steps_after_a_refused_certificate_are_skipped(tmp_path):
    authority = Authority.create(tmp_path)
    async with faulty_server(tls=authority.server_context(expired=True)) as server:
        entry = {"call_template_type": "http", "url": f"{server.url}/utcp", "ca_cert": "ca.pem"}
        steps = await examine(tmp_path, entry)
        assert server.requests == []
    assert first_failure(steps).name == "tls"
    assert steps["discovery"].message == "skipped because tls failed."


async def test_a_refused_port_fails_the_connection_step(tmp_path):
    async with HttpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "http", "url": service.refusing})
    assert first_failure(steps).name == "connection"
    assert "Connection refused" in steps["connection"].message
    assert "running" in steps["connection"].remedy


async def test_a_document_that_is_not_a_manual_fails_discovery(tmp_path):
    async with HttpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "http", "url": f"{service.base}/malformed"})
    assert first_failure(steps).name == "discovery"


async def test_all_missing_variables_are_listed_by_the_keys_to_set(tmp_path):
    entry = {"call_template_type": "http", "url": "http://127.0.0.1:1/${ONE}/${TWO}"}
    steps = await examine(tmp_path, entry)
    assert "2 variables are not set: shop_ONE, shop_TWO." in first_failure(steps).message
    steps = await examine(tmp_path, entry, variables={"ONE": "1"})
    assert "'shop_TWO' is not set" in first_failure(steps).message
    assert list(statuses(steps).values()) == ["failed", *["skipped"] * 5]


async def test_a_missing_command_fails_the_name_step(tmp_path):
    steps = await examine(tmp_path, {"call_template_type": "cli", "command_name": "no-such-command --utcp"})
    assert first_failure(steps).name == "name"
    assert "'no-such-command' is not on the PATH" in steps["name"].message


async def test_a_missing_file_fails_the_name_step_and_a_present_one_passes(tmp_path):
    entry = {"call_template_type": "file", "file_path": "manual.json"}
    assert first_failure(await examine(tmp_path, entry)).name == "name"
    (tmp_path / "manual.json").write_bytes(MANUAL)
    steps = await examine(tmp_path, entry)
    assert (steps["name"].status, steps["connection"].status) == ("ok", "skipped")


def mcp(**servers):
    return {"call_template_type": "mcp", "config": {"mcpServers": servers}}


async def test_an_mcp_server_that_exits_at_once_fails_discovery(tmp_path):
    steps = await examine(tmp_path, mcp(brief={"command": sys.executable, "args": ["-c", "pass"]}))
    assert steps["name"].message == f"The command is {sys.executable}."
    assert first_failure(steps).name == "discovery"
    assert "'brief' did not start" in steps["discovery"].message


async def test_one_missing_mcp_server_of_two_is_a_warning(tmp_path):
    servers = {
        "well": {"command": sys.executable, "args": [MCP_SERVER, "well"]},
        "gone": {"command": "no-such-command"},
    }
    steps = await examine(tmp_path, mcp(**servers))
    assert (steps["name"].status, steps["discovery"].status) == ("warning", "warning")
    assert "'no-such-command'" in steps["name"].message
    assert "9 tools (mcp), 1 fault." in steps["discovery"].message


async def test_udp_is_discovered_without_a_connection_step(tmp_path):
    async with UdpService() as service:
        steps = await examine(tmp_path, {"call_template_type": "udp", "host": "127.0.0.1", "port": service.port})
    assert (steps["name"].status, steps["connection"].status) == ("ok", "skipped")
    assert steps["discovery"].error is None


# Needs: several, of which one is enough.

FIRST, SECOND, TOOL = Endpoint("http://a/"), Endpoint("http://b/"), Program("git", Path())


async def is_up(need):
    return StepResult(f"{need.url} is up.") if isinstance(need, Endpoint) else None


async def only_the_first(need):
    if need is SECOND:
        raise Unreachable("b is down.")
    return await is_up(need)


async def test_a_step_without_matching_needs_is_skipped():
    assert await RemainingNeeds([TOOL]).look(is_up, "No host.") == StepResult("No host.", "skipped")


async def test_every_met_need_is_in_the_result():
    found = await RemainingNeeds([FIRST, TOOL, SECOND]).look(is_up, "")
    assert found == StepResult("http://a/ is up.", details=("http://b/ is up.",))


async def test_an_unmet_need_is_a_warning_and_later_steps_ignore_it():
    needs = RemainingNeeds([FIRST, SECOND])
    found = await needs.look(only_the_first, "", "Start it.")
    assert found == StepResult("b is down.", "warning", "Start it.", ("http://a/ is up.",))
    assert await needs.look(is_up, "") == StepResult("http://a/ is up.")


async def test_a_step_fails_if_no_need_is_met():
    with pytest.raises(Unreachable, match="b is down"):
        await RemainingNeeds([SECOND]).look(only_the_first, "")


# The step `auth`.


@pytest.fixture
async def service():
    async with HttpService() as opened:
        yield opened


async def auth_steps(url, auth):
    """Return the steps `auth` and `discovery` of a manual at this URL."""
    guard = Guard()
    entry = {"name": "shop", "call_template_type": "http", "url": url, **({"auth": auth} if auth else {})}
    async with await UtcpClient.create({}, extensions=Extensions(guard=guard)) as client:
        (manual,) = (await diagnose(client, [entry], guard=guard)).manuals
    return manual.step("auth"), manual.step("discovery")


def key(value):
    return {"auth_type": "api_key", "api_key": value, "var_name": "X-Api-Key"}


async def test_a_correct_key_passes_the_auth_step(service):
    auth, discovery = await auth_steps(f"{service.base}/secure/utcp", key(API_KEY))
    assert (auth.status, auth.message) == ("ok", "The API key is set; discovery succeeded with it.")
    assert discovery.error is None


async def test_a_refused_key_fails_auth_instead_of_discovery(service):
    auth, discovery = await auth_steps(f"{service.base}/secure/utcp", key("a wrong key"))
    assert (auth.status, auth.message) == ("failed", "The API key was refused (401).")
    assert isinstance(auth.error, Rejected)
    assert "has not expired" in auth.remedy
    assert (discovery.status, discovery.message) == ("skipped", "skipped because auth failed.")


async def test_missing_credentials_are_reported_with_how_to_add_them(service):
    auth, _ = await auth_steps(f"{service.base}/secure/utcp", None)
    assert auth.status == "failed"
    assert "requires credentials (401) and the manual has none" in auth.message
    assert '"auth"' in auth.remedy


async def test_a_403_counts_as_refused_credentials(service):
    basic = {"auth_type": "basic", "username": "me", "password": "a password"}
    auth, _ = await auth_steps(f"{service.base}/status/403", basic)
    assert auth.message == "The user name with its password was refused (403)."


async def test_auth_is_undecided_if_discovery_fails_for_another_reason(service):
    auth, discovery = await auth_steps(f"{service.base}/page", key(API_KEY))
    assert (auth.status, discovery.status) == ("ok", "failed")
    assert "discovery failed before it could be checked" in auth.message


async def test_a_manual_without_auth_skips_the_step(service):
    auth, discovery = await auth_steps(f"{service.base}/utcp", None)
    assert (auth.status, discovery.status) == ("skipped", "ok")


def oauth2(server, secret):
    fields = {"token_url": server.token_url, "client_id": CLIENT_ID, "client_secret": secret}
    return {"auth_type": "oauth2", **fields}


async def test_an_access_token_is_fetched_once_and_used_for_discovery(service):
    async with authorization_server() as server:
        auth, _ = await auth_steps(f"{service.base}/utcp", oauth2(server, CLIENT_SECRET))
        assert len(server.requests) == 1
        assert next(iter(server.tokens)) in service.last.headers["Authorization"]
    assert auth.message == f"{server.token_url} issued an access token; discovery succeeded with it."


async def test_a_refusing_token_endpoint_fails_auth_before_discovery(service):
    async with authorization_server() as server:
        auth, discovery = await auth_steps(f"{service.base}/utcp", oauth2(server, "another secret"))
    assert (auth.status, discovery.status) == ("failed", "skipped")
    assert isinstance(auth.error, TokenError)
    assert "invalid_client" in auth.message
    assert service.requests == []


# The step `discovery`.


def test_a_ready_manual_is_reported_with_tool_count_and_dialect():
    assert result_of(ManualState("shop", "http", "ready", tools=2, dialect="v1.x")).message == "2 tools (v1.x)."


def test_faults_of_a_manual_are_a_warning_with_details():
    state = ManualState("shop", "http", "ready", tools=1, dialect="v1.x")
    state.faults = [Fault("tool 'a'", "it has no name.", "Name it.")]
    found = result_of(state)
    assert (found.message, found.status) == ("1 tool (v1.x), 1 fault.", "warning")
    assert found.details == ("error: tool 'a': it has no name. Name it.",)


def test_a_manual_without_tools_is_a_warning():
    assert result_of(ManualState("shop", "http", "ready")).status == "warning"


def test_a_registry_is_reported_with_its_manual_count():
    state = ManualState("all", "registry", "ready", dialect="registry", description="3 manuals")
    assert result_of(state).message == "3 manuals (registry)."


def test_the_error_of_a_failed_manual_is_raised():
    with pytest.raises(ManualError):
        result_of(ManualState("shop", "http", "failed", error=ManualError("No manual.")))
