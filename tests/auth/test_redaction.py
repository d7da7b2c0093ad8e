"""Secrets are masked in each form in which they are sent."""

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.auth.redaction import MASK, Redactor

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
