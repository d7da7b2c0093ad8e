"""A check of audit files finds each kind of change, and accepts what the bridge writes."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from utcp_bridge.access.audit_chain import AuditChain, Link, audit_files, chain_record, check_audit
from utcp_bridge.errors import ConfigError

LINES = 12


def made(number=LINES, key=None):
    return AuditChain(key).sealed([chain_record("start" if not one else "x", call=f"c-{one}") for one in range(number)])


def checked(folder, *files, key=None, expected=None):
    paths = []
    for number, lines in enumerate(files):
        paths.append(folder / f"file-{number}")
        paths[-1].write_bytes(b"".join(lines))
    return check_audit(paths, key, expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("audit")


@given(st.lists(st.integers(0, LINES), max_size=4), st.randoms())
def test_a_chain_in_any_number_of_files_in_any_order_is_right(folder, cuts, random):
    lines, places = made(), sorted(cuts)
    files = [lines[begin:end] for begin, end in zip([0, *places], [*places, LINES], strict=True)]
    random.shuffle(files)
    report = checked(folder, *files)
    assert (report.fault, report.lines, report.end.number) == ("", LINES, LINES)


@given(st.integers(0, LINES - 2), st.integers(1, 3))
def test_lines_that_were_removed_are_found(folder, at, number):
    lines = made()
    assume(at + number < LINES)
    report = checked(folder, lines[:at] + lines[at + number :])
    if at:
        assert "missing" in report.fault
        assert f"line {at + 1}:" in report.fault
    else:
        assert f"begin with line {number + 1}" in report.notes[0]


@given(st.data())
def test_any_byte_that_was_changed_is_found(folder, data):
    lines = made()
    at = data.draw(st.integers(0, LINES - 2))
    place = data.draw(st.integers(0, len(lines[at]) - 2))
    byte = data.draw(st.integers(32, 126).filter(lambda one: one != lines[at][place]))
    lines[at] = lines[at][:place] + bytes([byte]) + lines[at][place + 1 :]
    report = checked(folder, lines)
    assert report.fault or (at == 0 and report.notes), (lines[at], report)


@given(st.integers(0, LINES - 1), st.integers(0, LINES - 1))
def test_lines_that_were_exchanged_are_found(folder, one, other):
    assume(one != other)
    lines = made()
    lines[one], lines[other] = lines[other], lines[one]
    assert checked(folder, lines).fault


@given(st.integers(1, 60))
def test_a_last_line_that_was_cut_is_found(folder, size):
    lines = made()
    lines[-1] = lines[-1][:-size]
    assert "the last line is cut" in checked(folder, lines).fault


@given(st.integers(1, LINES - 1))
def test_a_log_that_ends_too_early_is_found_by_a_hash_that_was_noted(folder, kept):
    lines = made()
    noted = checked(folder, lines).end
    report = checked(folder, lines[:kept], expected=noted)
    assert report.fault == f"The files end with line {kept}; line {LINES} is missing."
    assert checked(folder, lines, expected=noted).fault == ""


def test_another_hash_than_the_expected_one_is_found(folder):
    report = checked(folder, made(), expected=Link("", 3, "00"))
    assert report.fault.endswith("line 3: line 3 of the chain does not have the expected hash.")


def test_a_new_chain_over_the_same_records_is_found_with_a_key(folder):
    assert checked(folder, made(key=b"ours"), key=b"ours").fault == ""
    assert "audit_key" in checked(folder, made(key=None), key=b"ours").fault


def test_another_chain_within_a_log_is_found(folder):
    report = checked(folder, made() + made())
    assert f"line {LINES + 1}: another chain begins here" in report.fault


def test_lines_before_the_chain_are_counted_and_lines_within_it_are_wrong(folder):
    assert checked(folder, [b'{"call":"old"}\n', *made()]).notes[0].startswith("1 lines before the chain")
    lines = made()
    report = checked(folder, [*lines[:3], b'{"call":"old"}\n', *lines[3:]])
    assert "line 4: the line is cut, or was changed." in report.fault


def test_a_line_cut_by_a_crash_is_right_if_the_log_says_so(folder):
    lines = made(3)
    torn = lines[2][:20]
    chain = AuditChain()
    chain.resume(lines[0] + lines[1] + torn)
    rest = chain.sealed([chain_record("cut line", bytes=20), chain_record("start", run="x")])
    report = checked(folder, [*lines[:2], torn, b"\n", *rest])
    assert report.fault == ""
    assert "1 lines were cut by a crash, as the log itself says." in report.notes
    assert "1 run has no end: the bridge still runs, or ended without closing the log." in report.notes
    wrong = checked(folder, [*lines[:2], torn[:-1], b"\n", *rest])
    assert "line 3: the line is cut, or was changed." in wrong.fault


def test_lost_lines_are_counted(folder):
    lines = AuditChain().sealed([b'{"lost":3,"why":"x"}\n', b'{"lost":4,"why":"x"}\n'])
    assert checked(folder, lines).notes == ["7 lines were lost when they were written, as the log itself says."]


def test_files_without_a_chain_are_not_right(folder):
    assert checked(folder, [b'{"call":"old"}\n']).fault == (
        "The files have no line of a chain. Name the files of an audit log; a configuration comes after -c."
    )
    assert checked(folder, []).fault == "The files are empty."


def test_old_files_come_first(tmp_path):
    for name in ("a.log", "a.log.1", "a.log.10", "a.log.2", "a.log.lock", "b.log.1"):
        (tmp_path / name).touch()
    assert [path.name for path in audit_files(tmp_path / "a.log")] == ["a.log.10", "a.log.2", "a.log.1", "a.log"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="gone cannot be read: No such file"):
        check_audit([tmp_path / "gone"], None)
