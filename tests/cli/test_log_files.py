"""Files of log and audit lines: opened again, and what of them was lost."""

import json

import pytest

from utcp_bridge.cli.log_files import AuditSink, LossReport, lost_audit_lines, opened_file, reopen_files
from utcp_bridge.errors import ConfigError


def test_files_that_were_renamed_are_opened_again(tmp_path):
    paths = [tmp_path / name for name in ("a", "b")]
    with (
        opened_file(paths[0], "log_file", lost_audit_lines, LossReport(print)) as first,
        opened_file(paths[1], "audit_log", lost_audit_lines, LossReport(print)) as second,
    ):
        for path in paths:
            path.rename(path.with_suffix(".1"))
        reopen_files()
        first.put(b"one\n")
        second.put(b"two\n")
    assert [path.read_bytes() for path in paths] == [b"one\n", b"two\n"]
    reopen_files()


def test_a_file_that_cannot_be_opened_names_its_setting(tmp_path):
    with (
        pytest.raises(ConfigError, match="cannot be opened: it is a folder") as caught,
        opened_file(tmp_path, "log_file", lost_audit_lines, LossReport(print)),
    ):
        pass
    assert caught.value.remedy == "Change the setting `log_file`."


def test_losses_are_reported_at_once_and_then_at_the_end():
    said = []
    report = LossReport(lambda number, why: said.append((number, why)))
    for number in range(1, 100):
        report(number, "the disk is full")
    assert said == [(1, "the disk is full")]
    report.end()
    report.end()
    assert said == [(1, "the disk is full"), (99, "the disk is full")]


def test_another_reason_is_reported_at_once():
    said = []
    report = LossReport(lambda number, why: said.append((number, why)))
    report(0, "it is a link")
    report(1, "the disk is full")
    assert said == [(0, "it is a link"), (1, "the disk is full")]


def test_a_sink_counts_the_lines_that_are_dropped(caplog):
    sink = AuditSink(lambda line: line != b"2\n")
    for line in (b"1\n", b"2\n", b"3\n", b"2\n"):
        sink(line)
    assert sink.lost == 2
    assert "1 audit lines were lost so far, because the reader of stderr does not read." in caplog.text


def test_the_record_of_lost_lines_is_json():
    record = json.loads(lost_audit_lines(3, "the disk is full"))
    assert (record["lost"], record["why"]) == (3, "the disk is full")
