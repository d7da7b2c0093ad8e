"""Secrets are masked in each form in which they are sent."""

import base64
import html
import json
import shlex
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.auth.redaction import MASK, Redactor, secrets_in_url

SECRET = "p@ss w/ord+%ü"


@pytest.fixture
def redact():
    redactor = Redactor()
    redactor.learn([SECRET])
    return redactor


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower().replace("%C3", "%c3"),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_every_form_of_a_secret_is_masked(redact, form):
    assert redact(f"GET /x?key={form}&a=1 failed") == f"GET /x?key={MASK}&a=1 failed" or MASK in redact(form)
    assert form not in redact(f"GET /x?key={form}&a=1 failed")


@pytest.mark.parametrize("user", ["", "u", "us", "use", "user@example.com"])
def test_http_basic_leaves_no_readable_part_of_the_password(redact, user):
    header = base64.b64encode(f"{user}:{SECRET}".encode()).decode()
    masked = redact(f"Authorization: Basic {header}")
    assert MASK in masked
    assert header[-12:-4] not in masked


@given(st.binary(max_size=5), st.text(min_size=8, max_size=30), st.binary(max_size=5))
def test_base64_of_anything_around_a_secret_is_masked(before, secret, after):
    redactor = Redactor()
    redactor.learn([secret])
    assert MASK in redactor(base64.b64encode(before + secret.encode() + after).decode())


def test_a_secret_within_json_is_masked():
    redactor = Redactor()
    redactor.learn(['quo"te\\slash'])
    assert redactor(json.dumps({"echo": 'quo"te\\slash'})) == f'{{"echo": "{MASK}"}}'


def test_short_values_are_not_masked_unless_forced():
    redactor = Redactor()
    redactor.learn(["", "api", "v1"])
    assert redactor("api v1") == "api v1"
    redactor.learn(["v1"], force=True)
    assert redactor("api v1") == f"api {MASK}"


def test_a_longer_secret_is_masked_before_a_shorter_one_that_starts_it():
    redactor = Redactor()
    redactor.learn(["secret-one"])
    assert redactor("secret-one-two") == f"{MASK}-two"
    redactor.learn(["secret-one-two"])
    assert redactor("secret-one-two") == MASK


def test_a_short_password_is_found_in_its_basic_form():
    redactor = Redactor()
    redactor.learn_basic("admin", "123")
    assert "YWRtaW46MTIz" not in redactor("Basic YWRtaW46MTIz")


def test_form_bodies_are_masked(redact):
    assert SECRET not in redact(urlencode({"client_secret": SECRET}))
    assert "ord" not in redact(urlencode({"client_secret": SECRET}))


def test_without_secrets_the_same_text_object_is_returned():
    text = "nothing to hide"
    assert Redactor()(text) is text


ENCODINGS = {
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON with escaped slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "HTML": html.escape,
    "HTML decimal": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "HTML hexadecimal": lambda text: "".join(f"&#x{ord(one):X};" for one in text),
    "HTML around JSON": lambda text: html.escape(json.dumps(text)),
    "URL": lambda text: quote(text, safe=""),
    "URL of each byte, lower case": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "URL around JSON": lambda text: quote(json.dumps(text)),
    "form": quote_plus,
    "repr": repr,
    "ASCII repr": ascii,
    "repr of bytes": lambda text: repr(text.encode()),
    "C": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "JavaScript": lambda text: "".join(f"\\u{{{ord(one):x}}}" for one in text),
    "shell": shlex.quote,
    "shell with backslashes": lambda text: text.replace("'", "'\\''"),
    "CSV": lambda text: text.replace('"', '""'),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, upper case": lambda text: text.encode().hex().upper(),
    "hexadecimal with blanks": lambda text: text.encode().hex(" "),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(secret=st.text(st.characters(codec="utf-8"), min_size=8, max_size=30))
def test_a_secret_is_masked_in_each_encoding_that_a_program_prints(encoding, secret):
    redactor = Redactor()
    redactor.learn([secret])
    printed = ENCODINGS[encoding](secret)
    told = redactor(f"before: {printed} :after")
    assert MASK in told
    assert len(told) <= len(f"before: {MASK} :after") + 14, "at most the quotes around it remain"


def test_secrets_that_overlap_leave_no_part():
    redactor = Redactor()
    redactor.learn(["abc-defghi", "ghi-jklmno"])
    assert redactor("x abc-defghi-jklmno y") == f"x {MASK} y"


def test_a_line_of_a_key_is_masked_by_itself():
    redactor = Redactor()
    redactor.learn(["-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n"])
    assert "AQEFAASC" not in redactor("line 3: AQEFAASCBKcwggSjAgEAAoIB")


@given(st.text(max_size=200))
def test_a_text_without_secrets_is_the_same_text_object(text):
    redactor = Redactor()
    redactor.learn(["a-secret-of-length-30-aaaaaaaaaa"])
    assert redactor(text) is text


def test_only_the_beginning_of_a_huge_text_is_kept():
    redactor = Redactor()
    redactor.learn(["a-secret"])
    told = redactor("\\" * 10_000_000 + "a-secret")
    assert len(told) < 1_000_000
    assert "a-secret" not in told


def test_secret_parts_of_a_url_are_its_password_its_query_and_random_segments():
    found = secrets_in_url("https://user:pass-word@hooks.example/services/T0123ABCD/plain?key=of+query")
    assert list(found) == ["pass-word", "of query", "T0123ABCD"]
    assert list(secrets_in_url("https://[broken")) == []


def test_a_secret_that_ends_like_the_start_of_an_escape_is_masked():
    redactor = Redactor()
    secret = "000000'\\"
    redactor.learn([secret])
    assert redactor(f"before: {html.escape(secret)} :after") == f"before: {MASK} :after"


def test_rotated_values_of_one_source_are_forgotten_and_the_newest_stay():
    redactor = Redactor()
    tokens = [f"token-{number:05}" for number in range(1_000)]
    for token in tokens:
        redactor.learn([token], source="token a", is_credential=True)
    redactor.learn(["token-00000"], source="another")
    assert repr(redactor) == "<Redactor of 65 values>"
    assert redactor(" ".join(tokens[-64:])) == " ".join([MASK] * 64)
    assert redactor(tokens[500]) == tokens[500]
    assert redactor(tokens[0]) == MASK
    assert {form.text for form in redactor.credential_forms()}.isdisjoint(tokens[:900])
    assert {form.text for form in redactor.credential_forms()} > set(tokens[-64:])


def test_a_value_that_is_in_use_or_has_no_source_is_never_forgotten():
    redactor = Redactor()
    redactor.learn(["of the configuration"])
    redactor.learn(["shared by sources"], source="b")
    for number in range(1_000):
        redactor.learn([f"token-{number:05}"], source="a")
        redactor.learn(["old but in use", "shared by sources"], source="a")
        redactor.learn([f"fixed-{number:05}"])
    redactor.learn([f"token-{number:05}" for number in range(1_000)], source="a")
    assert redactor("of the configuration, shared by sources") == f"{MASK}, {MASK}"
    assert redactor("fixed-00000 fixed-00999") == f"{MASK} {MASK}"
    assert redactor("old but in use") == "old but in use", "a thousand newer ones came after its last use"


def test_learning_what_is_known_does_not_compile_the_pattern_again():
    redactor = Redactor()
    redactor.learn(["one-two-three"], source="a")
    assert redactor("one-two-three") == MASK
    pattern = redactor._pattern
    redactor.learn(["one-two-three"], source="a")
    redactor.learn(["one-two-three"], source="b")
    assert redactor._pattern is pattern
