"""Named tokens and their file."""

import os
import re
import stat
import subprocess
import sys
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.access.tokens import TokenFile, is_named_token, others_may_read
from utcp_bridge.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "folder" / "tokens.json")


def test_a_token_has_more_than_128_random_bits_and_only_its_hash_is_kept(file):
    made = [file.add(f"client{number}").value for number in range(8)]
    assert len({*made}) == 8
    for value in made:
        ident = is_named_token(value.encode())
        assert ident is not None
        secret = value.rpartition(ident.decode() + "_")[2]
        assert len(secret) * 6 >= 256
        assert secret not in file.path.read_text()
        assert value not in repr(file.read())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_only_the_owner_may_read_the_file_whatever_it_was_before(file):
    file.add("a")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.path.chmod(0o644)
    assert others_may_read(file.path)
    file.add("b")
    assert not others_may_read(file.path)
    file.note_use({"a": "2030-01-01"})
    assert stat.S_IMODE(file.path.with_name("tokens.json.used").stat().st_mode) == 0o600


def test_a_line_comes_back_as_it_was_written(file):
    made = file.add("ci", scopes=["tools:read", "x"], profiles=["readers"], expires=4_000_000_000.0)
    read = file.read()["ci"]
    assert (read.scopes, read.profiles, read.expires) == (("tools:read", "x"), ("readers",), 4_000_000_000.0)
    assert read.secrets[0].fits(made.value.encode())
    assert not read.secrets[0].fits(made.value.encode() + b"x")
    assert file.add("free").line.profiles is None
    assert file.read()["free"].profiles is None


def test_a_rotation_leaves_the_secret_before_for_the_overlap_and_ends_older_ones(file):
    first = file.add("ci").value
    second = file.rotate("ci", 3_600).value
    line = file.read()["ci"]
    assert [one.fits(first.encode()) for one in line.secrets] == [True, False]
    assert line.secrets[0].ends is not None
    assert line.secrets[0].ends <= time.time() + 3_600
    third = file.rotate("ci", 0).value
    line = file.read()["ci"]
    assert [one.fits(third.encode()) for one in line.secrets] == [True]
    assert not any(one.fits(second.encode()) for one in line.secrets)


def test_a_rotation_does_not_prolong_a_token(file):
    ends = time.time() + 60
    file.add("ci", expires=ends)
    file.rotate("ci", 86_400)
    line = file.read()["ci"]
    assert all(line.ends(secret) <= ends + 1 for secret in line.secrets)


def test_names_are_unique_and_a_revoked_name_is_free_again(file):
    file.add("ci")
    with pytest.raises(ConfigError, match="has a token 'ci' already"):
        file.add("ci")
    file.revoke("ci")
    with pytest.raises(ConfigError, match="has no token 'ci'"):
        file.revoke("ci")
    with pytest.raises(ConfigError, match="has no token 'ci'"):
        file.rotate("ci", 1)
    file.add("ci")


@pytest.mark.parametrize("name", ["", "a b", "-x", "é", "a" * 65, "a/b", "a\n"])
def test_a_name_that_could_be_misread_is_refused(file, name):
    with pytest.raises(ConfigError, match="cannot be the name"):
        file.add(name)
    assert not file.path.exists()


@pytest.mark.parametrize("scope", ["", "a b", 'a"', "a\\b", "é"])
def test_a_scope_is_a_scope_token_of_rfc_6749(file, scope):
    with pytest.raises(ConfigError, match="cannot be a scope"):
        file.add("ci", scopes=[scope])


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4) | st.sampled_from(["name", "secrets", "id"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    ("tokens",), ("version",), ("tokens", 0), ("tokens", 0, "name"), ("tokens", 0, "scopes"), ("tokens", 0, "profiles"),
    ("tokens", 0, "expires"), ("tokens", 0, "created"), ("tokens", 0, "secrets"), ("tokens", 0, "secrets", 0),
    ("tokens", 0, "secrets", 0, "sha256"), ("tokens", 0, "secrets", 0, "id"), ("tokens", 0, "secrets", 0, "ends"),
]  # fmt: skip


@given(path=st.sampled_from(PATHS), value=JUNK)
def test_a_damaged_file_is_refused_and_never_gives_a_token_more_than_it_had(tmp_path_factory, path, value):
    file = TokenFile(tmp_path_factory.mktemp("t") / "tokens.json")
    made = file.add("ci", scopes=["read"], profiles=["p"], expires=4_000_000_000.0)
    document = orjson.loads(file.path.read_bytes())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file.path.write_bytes(orjson.dumps(document))
    lines, said = {}, "The file of tokens x cannot be used: y"
    try:
        lines = file.read()
    except ConfigError as error:
        said = str(error)
    assert re.match(r"The file of tokens .* cannot be used: ", said)
    for line in lines.values():
        fitting = [one for one in line.secrets if one.fits(made.value.encode())]
        is_open_ended = value is None and path[-1] in {"expires", "profiles"}
        assert not fitting or is_open_ended or line.expires is not None or line.profiles is not None


def test_programs_that_add_tokens_at_once_lose_none(file):
    file.add("first")
    code = (
        "import sys; from pathlib import Path; from utcp_bridge.access.tokens import TokenFile\n"
        "for n in range(5): TokenFile(Path(sys.argv[1])).add(f'{sys.argv[2]}-{n}')"
    )
    programs = [subprocess.Popen([sys.executable, "-c", code, str(file.path), name]) for name in "abc"]
    assert [program.wait() for program in programs] == [0, 0, 0]
    assert len(file.read()) == 16


def test_the_days_of_use_are_kept_apart_from_the_tokens(file):
    file.add("ci")
    before = file.path.read_bytes()
    file.note_use({"ci": "2030-01-02", "gone": "2030-01-02"})
    file.note_use({"ci": "2030-01-01"})
    assert file.used() == {"ci": "2030-01-02"}
    assert file.path.read_bytes() == before
