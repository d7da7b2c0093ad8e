"""`utcp-bridge audit verify`, against logs that calls have written."""

import json

import pytest

TOOL = {"name": "own", "tool_call_template": {"call_template_type": "text", "content": "1"}}
MANUAL = {"name": "mine", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [TOOL]}}


@pytest.fixture
def called(command, tmp_path):
    """Return the audit log of two runs with one call each; the key is in a file."""
    (tmp_path / "audit.key").write_text("k" * 32)
    settings = {"audit_log": "calls.jsonl", "audit_key_file": str(tmp_path / "audit.key")}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [MANUAL], "bridge": settings}))
    for _ in range(2):
        assert command("call", "utcp.json", "mine.own").code == 0
    return tmp_path / "calls.jsonl"


def test_the_log_of_the_configuration_is_checked_with_its_key(command, called):
    done = command("audit", "verify")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("6 lines are as they were written. The last one is 6:")
    files = command("audit", "verify", str(called), "--key-file", "audit.key", "--json")
    assert (files.code, json.loads(files.out)["lines"]) == (0, 6)
    assert command("audit", "verify", str(called)).code == 1, "without the key"


def test_the_first_wrong_line_is_named(command, called):
    lines = called.read_bytes().splitlines(keepends=True)
    called.write_bytes(b"".join(lines).replace(b"mine.own", b"mine.two", 1))
    done = command("audit", "verify")
    assert done.code == 1
    assert f"{called}, line 2: the line was changed" in done.err
    called.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert f"{called}, line 3: line 3 is missing" in command("audit", "verify", "-c", "utcp.json").err


def test_a_log_that_was_cut_is_found_by_what_was_noted(command, called):
    noted = command("audit", "verify").out.split()[-1]
    assert command("audit", "verify", "--expect", noted).code == 0
    called.write_bytes(b"".join(called.read_bytes().splitlines(keepends=True)[:3]))
    assert command("audit", "verify").code == 0
    done = command("audit", "verify", "--expect", noted)
    assert (done.code, "line 6 is missing" in done.err) == (1, True)


def test_what_cannot_be_checked_says_why(command, tmp_path):
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [MANUAL]}))
    done = command("audit", "verify")
    assert (done.code, "has no audit log in a file. Set `audit_log`" in done.err) == (2, True)
    (tmp_path / "utcp.json").write_text(json.dumps({"bridge": {"audit_log": "a.log"}}))
    assert "There is no audit log yet." in command("audit", "verify").err
    assert command("audit", "verify", "--expect", "soon").code == 1
