"""The console in a real browser: tasks of an operator, with the mouse and the keyboard, and what axe-core finds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from tests.cli.test_replicas import Served, served, wait_until
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Npm
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

BROWSER = Npm("puppeteer-core@24 axe-core@4")
CHROMIUM = Debian("chromium", light=False)
PROGRAM = Path(__file__).parents[1] / "servers" / "console_browser.cjs"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"

pytestmark = [pytest.mark.timeout(400), pytest.mark.needs(BROWSER, CHROMIUM)]


def tool(name: str, content: str = "sunny", **fields: Any) -> dict[str, Any]:
    inputs = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    return {
        "name": name,
        "description": f"The weather of a city. {HOSTILE}",
        "inputs": {**inputs, "required": ["city"]},
        "tool_call_template": {"call_template_type": "text", "content": content},
        **fields,
    }


def manual(*tools: dict[str, Any]) -> str:
    return json.dumps({"utcp_version": "1.0.1", "tools": list(tools)})


def configure(folder: Path, **bridge: Any) -> None:
    entries = [
        {"name": "late", "call_template_type": "text", "file_path": "late.json"},
        {"name": "weather", "call_template_type": "text", "file_path": "weather.json"},
    ]
    (folder / "weather.json").write_text(manual(tool("get", f"sunny {HOSTILE}")), encoding="utf-8")
    (folder / "utcp.json").write_text(json.dumps({"manual_call_templates": entries, "bridge": bridge}))


class Page:
    """A page of a browser without a window. Each call is a step of `console_browser.cjs`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, *step: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(step)}\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        assert "error" not in reply, reply["error"]
        return reply["value"]


@contextmanager
def browsed(address: str, *, expected: Sequence[str] = ("401",)) -> Iterator[Page]:
    """Open an address in a browser. At the end, it has shown no dialog, and the browser has refused nothing of it.

    `expected` are words of what the browser may complain about: 401 is the page of the sign-in.
    """
    environment = {**CHROMIUM.environment, "NODE_PATH": BROWSER.environment["NODE_PATH"]}
    program = [BROWSER.command, PROGRAM, CHROMIUM.command]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, env=environment, **pipes) as browser:  # type: ignore[call-overload]
        page = Page(browser)
        page("goto", address)
        yield page
        assert page("dialogs") == []
        complaints = [one for one in page("complaints") if not any(word in one for word in expected)]
        assert complaints == []


@contextmanager
def page_of(folder: Path, *arguments: str) -> Iterator[Page]:
    """Start a console, and open the address that it prints."""
    command = [sys.executable, "-m", "utcp_bridge", "console", "utcp.json", "--no-browser", *arguments]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as console:
        assert console.stderr is not None
        try:
            console.stderr.readline()
            address = re.search(r"http://\S+", console.stderr.readline())
            assert address is not None
            with browsed(address[0]) as page:
                page("see", "h2", "Manuals")
                assert page("url").endswith("/")
                yield page
        finally:
            console.terminate()
            console.communicate(timeout=60)


def test_an_operator_reads_the_cause_repairs_a_manual_retries_and_tries_its_tool(tmp_path: Path) -> None:
    configure(tmp_path)
    with page_of(tmp_path) as page:
        page("see", ".note.bad", "late.json")
        (tmp_path / "late.json").write_text(manual(tool("soon", "rain")), encoding="utf-8")
        page("click", "#retry-late")
        page("see", "#said", "late is ready.")
        page("see", ".list .name", "late.soon")
        page("type", "#query", "weather soon")
        page("see", ".list .name", "late.soon")
        page("click", 'a[data-load*="late.soon"]')
        page("see", "#tool h3", "late.soon")
        page("click", "#tool button[value=call]")
        page("see", ".note.bad", "city")
        page("type", '[data-field="city"]', "Paris")
        page("press", "Enter")
        page("see", "#result-title", "ok")
        page("see", "[data-result] pre", "rain")
        page("see", "#request-title", "Request")


def test_a_double_click_calls_once_and_a_page_whose_bridge_is_away_says_so_until_it_is_back(tmp_path: Path) -> None:
    configure(tmp_path, drain_seconds=0)
    port = free_port()
    command = [sys.executable, "-m", "utcp_bridge", "serve", "utcp.json", "--http", "--port", str(port)]
    with ExitStack() as running:
        running.enter_context(serving(command, port=port, folder=tmp_path))
        with browsed(f"http://127.0.0.1:{port}/?tool=weather.get", expected=("401", "ERR_")) as page:
            page("see", "#state", "ready")
            page("type", '[data-field="city"]', "Paris")
            page("twice", "form[data-try]")
            page("see", "[data-result]", "sunny")
            page("see", "figcaption", "Calls 1 in")
            running.close()
            page("see", "#state", "no answer")
            page("see", "#said", "This page goes on when it is back.")
            page("click", "form[data-try] .primary")
            page("see", "#said", "The bridge does not answer.")
            running.enter_context(serving(command, port=port, folder=tmp_path))
            page("see", "#said", "The bridge is back.")
            page("see", "#state", "ready")
            page("click", "form[data-try] .primary")
            page("see", "figcaption", "Calls 1 in")


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    configure(tmp_path)
    with page_of(tmp_path) as page:
        page("click", 'a[data-load*="weather.get"]')
        page("see", "#tool .description", HOSTILE)
        page("type", '[data-field="city"]', HOSTILE)
        page("click", "#tool button[value=call]")
        page("see", "[data-result] pre", HOSTILE)
        assert page("count", "img") == 0
        assert page("count", "script") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_a_phone_does_not_scroll_sideways(tmp_path: Path, scheme: str) -> None:
    configure(tmp_path)
    with page_of(tmp_path) as page:
        page("scheme", scheme)
        page("click", 'a[data-load*="weather.get"]')
        page("see", "#tool h3", "weather.get")
        page("type", '[data-field="city"]', "Paris")
        page("click", "#tool button[value=call]")
        page("see", "#result-title", "ok")
        assert page("axe") == []
        page("size", 360, 740)
        assert page("overflow") == 0
        assert page("axe") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_links_to_the_sections_stay_in_view(tmp_path: Path, scheme: str) -> None:
    configure(tmp_path)
    with page_of(tmp_path) as page:
        page("scheme", scheme)
        page("size", 375, 667)
        for section in ("hosts", "calls", "drift", "tools", "approvals", "manuals"):
            assert page("shown", "nav")
            page("click", f'nav a[href="#{section}"]')
            assert page("shown", f"#{section}"), "the bar does not cover the heading"
        page("click", 'nav a[href="#hosts"]')
        page("press", "Home")
        tab_to(page, 'href="#manuals"')
        for section in ("tools", "calls", "approvals", "drift", "hosts"):
            page("press", "Tab")
            assert f'href="#{section}"' in page("focused")
            assert page("shown", ":focus")
        assert (page("overflow"), page("axe")) == (0, [])


def process_of_worker_1(server: Served) -> int:
    """Return the process that has the command and the folder of worker 0, and is not worker 0."""
    first = Path(f"/proc/{server.workers[0]}")
    own = (first / "cmdline").read_bytes(), (first / "cwd").readlink()
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is that of another user
            if one != first and ((one / "cmdline").read_bytes(), (one / "cwd").readlink()) == own:
                return int(one.name)
    raise AssertionError("worker 1 does not run")


def keep_a_worker_away(server: Served) -> None:
    """Kill a worker again and again, until the pause before its next start is longer than the page needs to look."""
    pause = 0
    while pause < 3:
        wait_until(lambda: server.readyz()[1]["workers"]["ready"] == 2)
        os.kill(process_of_worker_1(server), signal.SIGKILL)
        ended = re.search(r"again (?:at once|in (\d+))", server.line(lambda line: "Worker 1 ended" in line))
        assert ended is not None
        pause = int(ended[1] or 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_workers_follows_the_state_of_each(tmp_path: Path, scheme: str) -> None:
    with served(tmp_path) as server, browsed(f"http://127.0.0.1:{server.port}/") as page:
        page("scheme", scheme)
        page("see", "[data-part=replicas] p", "2 of 2 are ready")
        assert page("axe") == []
        page("size", 360, 740)
        assert page("overflow") == 0
        keep_a_worker_away(server)
        page("see", "[data-part=replicas] .pill", "lost")
        assert page("axe") == []
        page("see", "[data-part=replicas] p", "2 of 2 are ready")


def test_the_keyboard_alone_does_a_task(tmp_path: Path) -> None:
    configure(tmp_path)
    with page_of(tmp_path) as page:
        page("press", "Tab")
        assert "skip" in page("focused")
        for _ in range(40):
            page("press", "Tab")
            if 'id="query"' in page("focused"):
                break
        page("type", "#query", "weather")
        for _ in range(40):
            page("press", "Tab")
            if "data-load" in page("focused"):
                break
        page("press", "Enter")
        page("see", "#tool h3", "weather.get")
        assert 'id="tool"' in page("focused")
        page("press", "Tab")
        assert 'data-field="city"' in page("focused")


def tab_to(page: Page, part: str) -> None:
    """Go forwards with Tab alone, to the element whose HTML begins with a text that has `part`."""
    for _ in range(120):
        page("press", "Tab")
        if part in page("focused"):
            return
    raise AssertionError(f"Tab does not lead to {part}")


def test_the_keyboard_alone_retries_calls_decides_and_copies(tmp_path: Path) -> None:
    access = {"rules": [{"do": "ask"}], "approvals": {"store": "file:approvals", "ways": ["operator"]}}
    configure(tmp_path, access=access)
    with page_of(tmp_path) as page:
        (tmp_path / "late.json").write_text(manual(tool("soon", "rain")), encoding="utf-8")
        tab_to(page, 'id="retry-late"')
        page("press", "Enter")
        page("see", "#said", "late is ready.")
        tab_to(page, "name=late.soon")
        page("press", "Enter")
        page("see", "#tool h3", "late.soon")
        tab_to(page, 'data-field="city"')
        page("type", '[data-field="city"]', "Paris")
        page("press", "Enter")
        page("see", '[data-part="approvals"] pre', "Paris")
        tab_to(page, 'id="approve-')
        page("press", "Enter")
        page("see", '[data-part="approvals"] .pill', "approved")
        tab_to(page, "compare=now")
        page("press", "Enter")
        page("see", '[data-part="drift"] [role=status]', "No tool differs")
        tab_to(page, "Cursor")
        page("press", "Enter")
        tab_to(page, 'data-copy="entry-cursor"')


def test_a_late_reply_does_not_lead_away_from_where_the_keyboard_has_gone(tmp_path: Path) -> None:
    configure(tmp_path)
    with page_of(tmp_path) as page:
        tab_to(page, "compare=now")
        page("hold", "compare=now")
        page("press", "Enter")
        tab_to(page, "Cursor")
        page("release")
        page("see", '[data-part="drift"] [role=status]', "No tool differs")
        assert "Cursor" in page("focused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_pages_with_nothing_with_much_and_with_errors(tmp_path: Path, scheme: str) -> None:
    long = "a_name_that_goes_on_and_on_and_on" * 3
    (tmp_path / "many.json").write_text(manual(*(tool(f"{long}_{number}") for number in range(10_000))))
    entries = [
        {"name": long, "call_template_type": "text", "file_path": "many.json"},
        {"name": "away", "call_template_type": "http", "url": "http://127.0.0.1:9/openapi.json"},
    ]
    access = {"rules": [{"do": "deny", "why": "Closed. " * 40}]}
    log = {"audit_log": "calls.jsonl", "audit_arguments": "full"}
    for listed, bridge in ([], {}), (entries, {"access": access, "log": log}):
        (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": listed, "bridge": bridge}))
        with page_of(tmp_path) as page:
            page("scheme", scheme)
            page("see", '[data-part="tools"] [role=status]', "10,000 tools" if listed else "0 tools")
            if listed:
                page("click", ".list a[data-load]")
                page("see", "#tool h3", long)
                page("type", '[data-field="city"]', "Paris" * 60)
                page("click", "#tool button[value=call]")
                page("see", ".calls .name", long)
                page("click", ".calls summary")
                page("see", ".calls h3", "Arguments")
            assert (page("axe"), page("overflow")) == ([], 0)
            page("size", 360, 740)
            assert (page("axe"), page("overflow")) == ([], 0)


def test_the_page_of_the_sign_in_says_what_is_wrong(tmp_path: Path) -> None:
    configure(tmp_path)
    with page_of(tmp_path) as page:
        page("click", "[data-sign-out]")
        page("see", "label", "Code")
        assert page("axe") == []
        page("type", "#secret", "wrong")
        page("press", "Enter")
        page("see", "[data-problem]", "Start `utcp-bridge console` again.")
        assert page("axe") == []
        page("size", 360, 740)
        page("scheme", "dark")
        assert (page("axe"), page("overflow")) == ([], 0)


def test_an_operator_decides_about_a_call_that_waits(tmp_path: Path) -> None:
    access = {
        "rules": [{"do": "ask", "why": "Careful."}],
        "approvals": {"store": "file:approvals", "ways": ["operator"]},
    }
    configure(tmp_path, access=access)
    with page_of(tmp_path) as page:
        page("click", 'a[data-load*="weather.get"]')
        page("type", '[data-field="city"]', "Paris")
        page("click", "#tool button[value=call]")
        page("see", "[data-result]", "needs an approval")
        page("see", '[data-part="approvals"] pre', "Paris")
        page("click", '[data-part="approvals"] .primary')
        page("see", '[data-part="approvals"] .pill', "approved")
        page("click", "#tool button[value=call]")
        page("see", "#result-title", "ok")
        page("see", ".calls .name", "weather.get")
        assert page("axe") == []


def test_an_operator_logs_in_to_an_mcp_server_in_another_tab(tmp_path: Path) -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(oauth_mcp_service()) as service:
        entry = {"name": "notes", "call_template_type": "mcp", "server_url": service.url}
        config = {"manual_call_templates": [entry], "bridge": {"token_store": "memory"}}
        (tmp_path / "utcp.json").write_text(json.dumps(config), encoding="utf-8")
        with page_of(tmp_path) as page:
            page("see", '[data-part="manuals"] .pill', "failed")
            assert (page("axe"), page("visible", "#login"), page("visible", "#login-notes")) == ([], 0, 1)
            service.consent = "access_denied"
            page("click", "#login-notes")
            assert "/callback?" in page("tab", "The login was refused")
            page("see", "#said", "was refused")
            service.consent = "allow"
            page("click", "#login-notes")
            assert "/callback?" in page("tab", "The login is complete")
            page("see", "#said", "You are logged in. notes is ready.")
            page("see", ".list .name", "notes.read")
            assert page("url").endswith("/")
            assert page("visible", "#login") == 0


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@contextmanager
def folder_over_http(folder: Path) -> Iterator[str]:
    """Serve the files of a folder: a manual from there is the word of another program."""
    handler = partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_operator_reads_a_drift_and_approves_it(tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    with folder_over_http(fetched) as url:

        def write(description: str) -> None:
            call = {"call_template_type": "http", "url": f"{url}/x", "http_method": "GET"}
            one = {"name": "get", "description": description, "tool_call_template": call}
            (fetched / "manual.json").write_text(manual(one), encoding="utf-8")

        entry = {"name": "weather", "call_template_type": "http", "url": f"{url}/manual.json"}
        (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")
        write("The weather.")
        subprocess.run(
            [sys.executable, "-m", "utcp_bridge", "lock", "utcp.json"], cwd=tmp_path, check=True, timeout=120
        )
        write("Something else.")
        with page_of(tmp_path) as page:
            page("click", '[data-load*="compare=now"]')
            page("see", '[data-part="drift"] h3', "weather.get")
            page("see", '[data-part="drift"] pre', "Something else.")
            page("click", '[id="accept-weather.get"]')
            page("see", '[data-part="drift"] [role=status]', "No tool differs")
            page("click", "#host-cursor summary")
            page("see", "#entry-cursor", "serve")
            assert page("axe") == []


@contextmanager
def drifting(folder: Path, **bridge: Any) -> Iterator[str]:
    """Serve a bridge over HTTP with a manual that fails, and one that differs from the lock. Yield its address."""
    fetched = folder / "fetched"
    fetched.mkdir()
    with folder_over_http(fetched) as url:
        (fetched / "sky.txt").write_text("sunny", encoding="utf-8")
        call = {"call_template_type": "http", "url": f"{url}/sky.txt", "http_method": "GET"}
        (fetched / "weather.json").write_text(manual(tool("get", tool_call_template=call)), encoding="utf-8")
        entries = [
            {"name": "weather", "call_template_type": "http", "url": f"{url}/weather.json"},
            {"name": "late", "call_template_type": "http", "url": f"{url}/late.json"},
        ]
        config = {"manual_call_templates": entries, "bridge": bridge}
        (folder / "utcp.json").write_text(json.dumps(config), encoding="utf-8")
        program = [sys.executable, "-m", "utcp_bridge"]
        subprocess.run([*program, "lock", "utcp.json"], cwd=folder, check=False, timeout=120)  # one is not loaded
        changed = tool("get", tool_call_template=call, description="Something else.")
        (fetched / "weather.json").write_text(manual(changed), encoding="utf-8")
        port = free_port()
        with serving([*program, "serve", "utcp.json", "--http", "--port", str(port)], port=port, folder=folder):
            yield f"http://127.0.0.1:{port}/"


def enter(page: Page, part: str) -> None:
    """Go to an element with Tab, see that it has a line around it, and press Enter."""
    tab_to(page, part)
    assert page("outline") >= 2
    page("press", "Enter")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_keyboard_alone_signs_in_repairs_approves_tries_and_signs_out(tmp_path: Path, scheme: str) -> None:
    token = "canary-of-a-token"
    with drifting(tmp_path, bearer_token=token) as address, browsed(address) as page:
        page("scheme", scheme)
        page("see", "label", "Token")
        assert 'id="secret"' in page("focused")
        assert page("axe") == []
        page("type", "#secret", token)
        page("press", "Enter")
        page("see", "h2", "Manuals")
        assert page("axe") == []

        (tmp_path / "fetched" / "late.json").write_text(manual(), encoding="utf-8")
        enter(page, 'id="retry-late"')
        page("see", "#said", "late is ")
        page("see", "#retry-late", "Reload")
        assert 'id="retry-late"' in page("focused")
        assert page("outline") >= 2
        assert page("axe") == []

        enter(page, "compare=now")
        page("see", '[data-part="drift"] pre', "Something else.")
        assert page("axe") == []
        enter(page, 'id="accept-weather.get"')
        page("see", '[data-part="drift"] [role=status]', "No tool differs")
        assert 'id="drift"' in page("focused"), "its button is gone"
        assert page("outline") >= 2

        enter(page, "name=weather.get")
        page("see", "#tool h3", "weather.get")
        tab_to(page, 'data-field="city"')
        page("type", '[data-field="city"]', "Paris")
        page("press", "Enter")
        page("see", "[data-result] pre", "sunny")
        assert 'data-field="city"' in page("focused")
        assert page("outline") >= 2
        assert page("axe") == []

        enter(page, "data-sign-out")
        page("see", "label", "Token")
        assert 'id="secret"' in page("focused")
        assert page("axe") == []
