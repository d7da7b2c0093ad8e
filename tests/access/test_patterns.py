"""Personal data in texts: what is found has right check digits, and ordinary numbers stay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.access.patterns import KINDS, masked_personal_data
from utcp_bridge.tasks import at_once

ALL = tuple(KINDS)


def masked(value, kinds=ALL, **options):
    return at_once(masked_personal_data(value, kinds, set(), **options))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mail ann.b+c@mail.example.com.", "mail [email]."),
        ("<ann@example.org>", "<[email]>"),
        ("DE89 3704 0044 0532 0130 00 and more", "[iban] and more"),
        ("GB29NWBK60161331926819,FR1420041010050500013M02606", "[iban],[iban]"),
        ("4111 1111 1111 1111", "[card]"),
        ("378282246310005 5555-5555-5555-4444", "[card] [card]"),
        ("call +49 (30) 901820, +1 202-555-0143", "call [phone], [phone]"),
        ("12345678Z X1234567L", "[national_id] [national_id]"),
        ("529.982.247-25", "[national_id]"),
        ("1 84 12 76 451 089 46", "[national_id]"),
        ("078-05-1120", "[national_id]"),
        ("key " + "AKIA" + "IOSFODNN7EXAMPLE", "key [secret]"),
        ("ghp_" + "a" * 36, "[secret]"),
        ("eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.c2ln", "[secret]"),
    ],
)
def test_what_is_personal_is_replaced(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "ann@localhost and a@b",
        "DE88 3704 0044 0532 0130 00",
        "4111 1111 1111 1112",
        "1700000000000 and 20261130043550",
        "0.4111111111111111",
        "550e8400-e29b-41d4-a716-446655440000",
        "order 12345678A",
        "529.982.247-26",
        "+1 2",
        "2026-11-30T04:35:50.123456Z",
        "192.168.100.200:8080",
        "v1.2.3-4111111111111111x",
        "666-12-1234 000-12-1234",
    ],
)
def test_what_only_looks_like_it_stays(text):
    assert masked(text) is text


NUMBERS = st.integers(-(10**13), 10**13) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()


@given(
    st.recursive(
        NUMBERS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4)
    )
)
def test_ordinary_numbers_stay_as_numbers(value):
    assert masked(value) is value


@given(st.integers(0, 10**13))
def test_ordinary_numbers_stay_in_text(number):
    for text in (str(number), f"{number:,}", f"id={number}", f"{number / 100:.2f} EUR", json.dumps({"n": number})):
        kinds = ("secret", "email", "iban", "card", "phone")
        assert masked(text, kinds) is text


@given(st.datetimes(), st.uuids(), st.ip_addresses())
def test_times_addresses_and_ids_stay(time, ident, address):
    for text in (time.isoformat(), str(time.timestamp()), str(address), str(ident)):
        assert masked(text, ("secret", "email", "iban", "phone")) is text


def luhn(digits):
    doubled = [int(one) * (1 + place % 2) for place, one in enumerate(reversed(digits))]
    return sum(one - 9 * (one > 9) for one in doubled) % 10


@given(st.integers(0, 10**15 - 1).map(lambda number: f"4{number:015d}"))
def test_a_card_counts_only_with_its_check_digit(digits):
    assert (masked(digits, ("card",)) == "[card]") is (luhn(digits) == 0)
    assert (masked(int(digits), ("card",)) == "[card]") is (luhn(digits) == 0)


SAMPLE_IBANS = ("DE89370400440532013000", "GB29NWBK60161331926819")


def remainder(text):
    """Return the remainder of the number that a text means, where A is 10 and Z is 35, by 97."""
    left = 0
    for one in text:
        value = ord(one) - ord("0") if one.isdigit() else ord(one) - ord("A") + 10
        left = (left * (10 if value < 10 else 100) + value) % 97
    return left


def test_the_sample_ibans_are_valid():
    assert [remainder(one[4:] + one[:4]) for one in SAMPLE_IBANS] == [1, 1]


@given(
    st.sampled_from(SAMPLE_IBANS),
    st.integers(4, 21),
    st.characters(codec="ascii"),
)
def test_an_iban_counts_only_with_its_check_digits(iban, at, other):
    changed = iban[:at] + other + iban[at + 1 :]
    if other.isupper() or other.isdigit():
        assert (masked(changed, ("iban",)) == "[iban]") is (remainder(changed[4:] + changed[:4]) == 1)
    assert masked(" ".join(iban[i : i + 4] for i in range(0, len(iban), 4)), ("iban",)) == "[iban]"


@given(st.text(), st.text())
def test_what_is_around_changes_nothing(before, after):
    text = f"{before} ann@example.com {after}"
    assert "ann@example.com" not in masked(text, ("email",))


@given(st.integers(0, 120_000))
def test_places_at_the_ends_of_windows_are_found(size):
    text = f"{'x ' * (size // 2)}ann@example.com {'y ' * 100}"
    assert masked(text, ("email",)) == text.replace("ann@example.com", "[email]")


def test_a_private_key_is_replaced_to_its_end():
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow\n" * 200 + "-----END RSA PRIVATE KEY-----"
    assert masked(f"a {key} b") == "a [secret] b"
    assert masked(f"a {key[:1000]}") == "a [secret]"
    assert masked(json.dumps({"k": key})) == '{"k": "[secret]"}'


def test_texts_in_every_place_of_json_are_searched():
    value = {"ann@example.com": [{"x": "bob@example.com"}, 1, None, "plain"]}
    assert masked(value) == {"[email]": [{"x": "[email]"}, 1, None, "plain"]}


def test_the_parts_of_a_stream_are_one_text():
    assert masked(["mail ann@exam", "ple.com now"], is_stream=True) == ["[email]", "[email]"]
    assert masked(["mail ann@exam", "ple.com now"]) == ["mail ann@exam", "ple.com now"]
    plain = ["a", "b"]
    assert masked(plain, is_stream=True) is plain


def test_the_kinds_that_were_found_are_reported():
    seen = set()
    at_once(masked_personal_data("ann@example.com 4111111111111111", ALL, seen))
    assert seen == {"email", "card"}
