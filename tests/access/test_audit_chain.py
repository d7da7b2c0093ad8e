"""The chain of audit lines: how lines are added, and how a chain goes on after a restart."""

import json

from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.access.audit_chain import AuditChain, chain_key, chain_record, line_hash, link_of

RECORDS = st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=4).map(
    lambda members: json.dumps({"time": "now", **members}).encode() + b"\n"
)


@given(st.lists(RECORDS, min_size=1, max_size=8), st.none() | st.text(min_size=1))
def test_each_line_keeps_its_members_and_has_the_hash_of_the_line_before(lines, secret):
    key = chain_key(secret)
    chain = AuditChain(key)
    sealed = chain.sealed(lines)
    before = None
    for number, (line, made) in enumerate(zip(lines, sealed, strict=True), 1):
        link, record = link_of(made)
        assert (link.number, link.hash) == (number, before)
        members = json.loads(line)
        assert {name: record[name] for name in members if name not in {"chain", "line", "previous"}} == {
            name: value for name, value in members.items() if name not in {"chain", "line", "previous"}
        }
        before = line_hash(made.rstrip(b"\n"), key)


def test_lines_that_were_not_written_are_not_in_the_chain():
    chain = AuditChain()
    first, second = chain.sealed([chain_record("start"), chain_record("end")])
    chain.keep([first])
    assert chain.end.number == 1
    assert link_of(chain.sealed([chain_record("end")])[0])[0].hash == link_of(second)[0].hash


def test_a_chain_goes_on_after_a_restart():
    before, after = AuditChain(), AuditChain()
    sealed = before.sealed([chain_record("start"), chain_record("end")])
    before.keep(sealed)
    assert after.resume(b"".join(sealed)) == 0
    assert after.end == before.end


def test_a_chain_goes_on_after_a_line_that_was_cut():
    before, after = AuditChain(), AuditChain()
    sealed = before.sealed([chain_record("start"), chain_record("end")])
    assert after.resume(sealed[0] + sealed[1][:10]) == 10
    assert (after.end.chain, after.end.number) == (before.end.chain, 1)
    assert after.end.hash == line_hash(sealed[1][:10], None)


def test_a_file_of_an_older_version_begins_a_chain():
    chain = AuditChain()
    chain.resume(b'{"call": "1"}\n{"call": "2"}\n')
    assert (chain.end.number, chain.end.hash) == (0, None)


def test_the_key_decides_about_the_hashes():
    assert line_hash(b"x", None) != line_hash(b"x", chain_key("one")) != line_hash(b"x", chain_key("two"))
    assert chain_key(None) is None
