"""`utcp-bridge call`: arguments, results of every form, failures with their exit codes."""

import io
import json
import socket
import sys

import pytest

from utcp_bridge.cli.commands.call import _give, _Output, _Partials, _plain
from utcp_bridge.model import Binary, ContentBlocks, Result

PLAIN = _Output(as_json=False, stream=False, file=None)


def test_data_is_printed_as_json(command):
    outcome = command("call", "--quickstart", "desk.convert_units", "value=26.2", "from=mi", "to=km")
    assert outcome.code == 0
    assert json.loads(outcome.out)["result"] == pytest.approx(42.1648128)


def test_text_is_printed_as_it_is(command, manual):
    assert command("call", "-c", manual, "notices.door").out == "Mind the step.\n"


def test_a_bare_name_is_refused_while_another_manual_is_not_loaded(command, manual):
    assert command("call", "-c", manual, "notices_door").out == "Mind the step.\n"
    refused = command("call", "-c", manual, "door")
    assert refused.code == 3
    assert "Manual 'gone' is not loaded" in refused.err
    assert "Use the full name: notices.door." in refused.err


def test_a_call_loads_only_the_manual_of_the_tool(command, manual):
    assert "gone" not in command("call", "-c", manual, "notices.door").err


def test_json_output_is_an_object_with_the_value(command, manual):
    told = json.loads(command("call", "-c", manual, "notices.list", "--json").out)
    assert told["value"] == {"notices": ["Mind the step."]}
    assert told["truncated"] is None


def test_arguments_are_read_from_stdin(command, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"text": "one two"}'))
    assert json.loads(command("call", "--quickstart", "desk.text_statistics", "-").out)["words"] == 2


def test_partial_results_are_printed_one_per_line(command):
    outcome = command("call", "--quickstart", "studio.count_slowly", "to=2", "--stream")
    assert [json.loads(line) for line in outcome.out.splitlines()] == [
        {"progress": 1, "total": 2},
        {"progress": 2, "total": 2},
    ]


def test_a_call_without_partial_results_prints_its_value_with_stream(command, manual):
    assert command("call", "-c", manual, "notices.door", "--stream").out == "Mind the step.\n"


def test_an_image_goes_to_a_file_or_raw_to_stdout(command, tmp_path, capfdbinary):
    arguments = ("call", "--quickstart", "studio.bar_chart", "values:=[3,5,2]")
    written = command(*arguments, "-o", "chart.png")
    assert "bytes to chart.png" in written.err
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert "PNG" in command(*arguments).out
    told = json.loads(command(*arguments, "--json").out)
    assert told["value"]["media_type"] == "image/png"


def test_data_and_text_can_be_written_too(command, manual, tmp_path):
    command("call", "-c", manual, "notices.list", "-o", "list.json")
    command("call", "-c", manual, "notices.door", "-o", "door.txt")
    assert json.loads((tmp_path / "list.json").read_text()) == {"notices": ["Mind the step."]}
    assert (tmp_path / "door.txt").read_text() == "Mind the step."


def test_a_file_that_cannot_be_written_is_exit_code_2(command, manual):
    outcome = command("call", "-c", manual, "notices.door", "-o", "no/such/folder.txt")
    assert outcome.code == 2
    assert "cannot be written" in outcome.err


def test_wrong_arguments_are_exit_code_4_and_name_the_fault(command):
    outcome = command("call", "--quickstart", "desk.convert_units", "value=much", "from=mi", "to=km")
    assert (outcome.code, outcome.out) == (4, "")
    assert "value" in outcome.err
    unread = command("call", "--quickstart", "desk.convert_units", "value:=much")
    assert unread.code == 4


def test_an_unknown_tool_is_exit_code_3(command):
    outcome = command("call", "--quickstart", "desk.convert_unit")
    assert outcome.code == 3
    assert "Did you mean desk.convert_units" in outcome.err


def test_a_rejection_by_the_service_is_exit_code_5_with_its_message(command):
    outcome = command("call", "--quickstart", "desk.read_note", "id=9")
    assert outcome.code == 5
    assert "404" in outcome.err
    assert "There is no note 9." in outcome.err


def test_with_json_an_error_is_an_object_on_stdout(command):
    outcome = command("call", "--quickstart", "desk.read_note", "id=9", "--json")
    error = json.loads(outcome.out)["error"]
    assert (outcome.code, error["code"]) == (5, "rejected")
    assert error["detail"] == {"error": "There is no note 9."}


def test_a_call_beyond_its_deadline_is_exit_code_7(command, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        template = {"call_template_type": "http", "url": url}
        content = {"utcp_version": "1.0.1", "tools": [{"name": "wait", "tool_call_template": template}]}
        entry = {"name": "slow", "call_template_type": "text", "content": content}
        (tmp_path / "providers.json").write_text(json.dumps([entry]))
        outcome = command("call", "slow.wait", "--set", "call_timeout=0.2")
    assert outcome.code == 7


def test_a_stream_that_is_cut_returns_the_part_that_came(command):
    arguments = ("studio.count_slowly", "to=50", "--set", "max_stream_events=1", "--debug")
    outcome = command("call", "--quickstart", *arguments)
    assert json.loads(outcome.out)[0] == {"progress": 1, "total": 50}
    assert "The result is incomplete" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_call_of_a_failed_manual_has_the_exit_code_of_the_failure(command, manual):
    outcome = command("call", "-c", manual, "gone.anything")
    assert outcome.code == 5
    assert "Manual gone failed" in outcome.err


def test_an_incomplete_result_is_reported(capsys):
    assert _give(Result("half", truncated="too long"), PLAIN) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("half\n", "The result is incomplete: too long\n")


def test_an_image_is_not_printed_on_a_terminal(terminal):
    with terminal:
        _give(Result(Binary(b"\x89PNG", "image/png")), PLAIN)
    assert terminal.shown() == "The result is 4 bytes of image/png. Write it to a file with -o FILE.\n"


def test_content_of_an_mcp_server_is_printed_block_by_block(capsys):
    blocks = ContentBlocks([{"type": "text", "text": "one"}, {"type": "image", "data": "eA=="}])
    assert _give(Result(blocks), PLAIN) == 0
    out = capsys.readouterr().out
    assert out.startswith("one\n")
    assert json.loads(out.removeprefix("one\n")) == {"type": "image", "data": "eA=="}


def test_an_error_of_an_mcp_server_is_exit_code_5(capsys):
    blocks = ContentBlocks([{"type": "text", "text": "no"}], is_error=True)
    assert _give(Result(blocks), PLAIN) == 5
    assert _plain([blocks, 1]) == [
        {"content": [{"type": "text", "text": "no"}], "structured": None, "is_error": True},
        1,
    ]


@pytest.mark.anyio
async def test_partial_texts_are_printed_as_lines(capsys):
    partials = _Partials(PLAIN)
    await partials.emit("one\n")
    await partials.emit({"a": 1})
    assert capsys.readouterr().out == 'one\n{"a":1}\n'
    assert partials.printed == 2


def test_a_tool_that_cannot_be_used_is_reported_with_the_faults_of_its_manual(command, manual):
    outcome = command("call", "-c", manual, "notices.broken")
    assert outcome.code == 3
    assert "1 fault in manuals" in outcome.err
    assert "There is no tool 'notices.broken'." in outcome.err
    assert "notices." in outcome.err.partition("Did you mean")[2]


def test_a_call_shows_the_faults_of_all_tools_if_the_log_does(command, manual):
    outcome = command("call", "-c", manual, "notices.door", "--set", "log_level=warning")
    assert outcome.out == "Mind the step.\n"
    assert "no_such_type" in outcome.err
