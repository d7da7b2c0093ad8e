"""Log lines and audit records."""

import json
import logging
import stat
import subprocess
import sys

import pytest

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.cli.logs import audit_sink, configure_logging
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import LogSettings

OURS = logging.getLogger("utcp_bridge.some_module")


@pytest.fixture
def redactor():
    learned = Redactor()
    learned.learn(["s3cret-value"])
    return learned


def test_text_lines_go_to_stderr_without_secrets(capsys, redactor):
    configure_logging("info", "text", redactor)
    OURS.info("token %s", "s3cret-value")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("INFO utcp_bridge.some_module: token ***\n")


def test_json_lines_are_objects_without_secrets(capsys, redactor):
    configure_logging("debug", "json", redactor)
    try:
        int("s3cret-value")
    except ValueError:
        OURS.debug("it said %s", "s3cret-value", exc_info=True)
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "debug"
    assert line["message"] == "it said ***"
    assert "ValueError: invalid literal for int() with base 10: '***'" in line["traceback"]
    assert line["time"].endswith("+00:00")


def test_a_json_line_without_an_exception_has_no_traceback(capsys, redactor):
    configure_logging("info", "json", redactor)
    OURS.info("fine")
    assert "traceback" not in json.loads(capsys.readouterr().err)


def test_tracebacks_of_text_lines_are_redacted_too(capsys, redactor):
    configure_logging("info", "text", redactor)
    try:
        int("s3cret-value")
    except ValueError:
        OURS.exception("it failed")
    assert "s3cret-value" not in capsys.readouterr().err


def test_lines_below_the_level_are_not_shown(capsys, redactor):
    configure_logging("warning", "text", redactor)
    OURS.info("quiet")
    assert capsys.readouterr().err == ""


def test_debug_lines_of_other_packages_are_never_shown(capsys, redactor):
    configure_logging("debug", "text", redactor)
    logging.getLogger("another.package").info("authorization: Bearer abc")
    logging.getLogger("another.package").warning("this one is")
    assert capsys.readouterr().err.count("\n") == 1


def calls_in(data):
    return [record["call"] for record in map(json.loads, data.splitlines()) if "call" in record]


def test_only_the_owner_can_read_the_audit_file_and_lines_are_appended(tmp_path):
    for line in (b'{"call":1}\n', b'{"call":2}\n'):
        with audit_sink(LogSettings(audit_log="calls.jsonl"), tmp_path) as sink:
            sink(line)
    path = tmp_path / "calls.jsonl"
    assert calls_in(path.read_bytes()) == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("calls.jsonl.lock").stat().st_mode) == 0o600


def test_the_audit_log_goes_to_stderr_for_a_dash_and_nowhere_by_default(tmp_path, capfdbinary):
    with audit_sink(LogSettings(audit_log="-"), tmp_path) as sink:
        sink(b'{"call":1}\n')
    assert calls_in(capfdbinary.readouterr().err) == [1]
    with audit_sink(LogSettings(), tmp_path) as sink:
        assert sink is None


def test_an_audit_file_that_cannot_be_opened_is_a_configuration_error(tmp_path):
    settings = LogSettings(audit_log="no/such/folder")
    with pytest.raises(ConfigError, match="cannot be opened: No such file"), audit_sink(settings, tmp_path):
        pass


def test_log_lines_have_visible_characters_only(capsys, redactor):
    for style in ("text", "json"):
        configure_logging("info", style, redactor)
        OURS.info("\x1b[31mred\u202e \ud83d s3cret-\u200bvalue 10%\r100%")
        line = capsys.readouterr().err
        assert "\\u001b" not in line
        assert ascii(line) == ascii(line.replace("\x1b", "").replace("\u202e", "").replace("\r", ""))
        assert "s3cret" not in line


@pytest.mark.parametrize("name", ["mcp.client", "mcp.shared.session", "client", "server"])
def test_tracebacks_of_the_protocol_library_are_for_debugging(capsys, redactor, name):
    for level, count in (("info", 0), ("debug", 1)):
        configure_logging(level, "text", redactor)
        try:
            int("x")
        except ValueError:
            logging.getLogger(name).exception("it failed")
        assert capsys.readouterr().err.count("Traceback") == count


PROGRAM = """
import asyncio, logging, os, subprocess, sys, threading, warnings
from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.cli.logs import audit_sink, configure_logging, unblocked_stderr
from utcp_bridge.cli.output import complain, note
from pathlib import Path
from utcp_bridge.settings import LogSettings

configure_logging("info", "json", Redactor())
complain("before")
with unblocked_stderr(), audit_sink(LogSettings(audit_log="-"), Path()) as sink:
    logging.getLogger("utcp_bridge.x").info("ours")
    print("stray", file=sys.stderr, flush=True)
    os.write(2, b"raw \\xff\\x1b[31mred\\n\\n")
    subprocess.run(["sh", "-c", "echo child >&2"])
    sink(b'{"call": 1}\\n')
    warnings.warn("careful", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

    async def forgotten():
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: [][0])
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(forgotten())
    complain("bad")
    note("good")
    print("last without a newline", end="", file=sys.stderr)
"""


def test_every_line_of_stderr_is_json():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=200, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["call"] for line in lines if "call" in line] == [1]
    said = "\n".join(line.get("message", "") for line in lines)
    for words in ("before", "ours", "stray", "raw \ufffdred", "child", "careful", "ZeroDivisionError", "bad", "good"):
        assert words in said
    assert "last without a newline" in said
    assert any("IndexError" in line.get("traceback", "") for line in lines)
    assert done.stdout == b""
