"""Every id has one subject token, and every token one id: what a NATS permission names is what it protects."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent import InvalidRequest
from solvent.engine.values.pool_id import ID_CHARS_MAX, check_id
from solvent.transports.nats.subjects import decode_token, encode_token, parse_subject, subject_of

SPECIAL = ".*>%-/:@$ \"'\\_=?&+~#é✨👍🏽日本"
PRINTABLE = st.characters(blacklist_categories=("C", "Zl", "Zp", "Zs")) | st.sampled_from(SPECIAL)
IDS = st.text(PRINTABLE.filter(str.isprintable), min_size=1, max_size=ID_CHARS_MAX)
TOKEN = re.compile(r"[^\s.*>]+", re.ASCII)


@given(IDS, IDS)
def test_a_subject_gives_back_the_ids_it_was_made_of(environment: str, customer: str) -> None:
    assert check_id(environment, "environment") == environment
    subject = subject_of(environment, customer, "hold.capture")
    assert parse_subject(subject) == (environment, customer)


@given(IDS)
def test_a_token_is_one_token_of_ascii_without_wildcards(name: str) -> None:
    token = encode_token(name)
    assert TOKEN.fullmatch(token)
    assert token.isascii()
    assert token.isprintable()
    assert token != "-", "an id has taken the place of the token that stands for any customer"
    assert decode_token(token, "customer") == name


@given(IDS, IDS)
def test_two_ids_never_share_a_token(one: str, other: str) -> None:
    assert (encode_token(one) == encode_token(other)) == (one == other)


@given(st.text(st.sampled_from("ab%2E-2dDfF0é"), min_size=1, max_size=12))
def test_an_id_has_one_spelling_only(token: str) -> None:
    """A second one would slip past a permission that names the first."""
    try:
        name = decode_token(token, "customer")
    except InvalidRequest as refused:
        assert refused.field == "customer"
    else:
        assert encode_token(name) == token


@given(IDS, IDS)
def test_the_longest_subject_fits_into_what_a_nats_server_takes(environment: str, customer: str) -> None:
    control_line_max = 4_096
    reply_and_sizes = 200
    assert len(subject_of(environment, customer, "recurring.cancel")) + reply_and_sizes < control_line_max


def test_ids_that_mean_something_to_nats_are_encoded() -> None:
    assert subject_of("default", "a.b", "debit") == "solvent.v1.default.a%2Eb.debit"
    assert subject_of("x*", "a>b c%", "debit") == "solvent.v1.x%2A.a%3Eb%20c%25.debit"
    assert subject_of("default", "-", "debit") == "solvent.v1.default.%2D.debit"
    assert subject_of("default", None, "batch") == "solvent.v1.default.-.batch"
    assert parse_subject("solvent.v1.default.-.batch") == ("default", None)
    assert parse_subject("solvent.v1.default.%2D.batch") == ("default", "-")


@pytest.mark.parametrize(
    "token",
    ["a%2eb", "%61", "a%", "a%2", "a%zz", "%C3", "%FF", "%C3%28", "é", "a%2Db", "%ED%A0%80", "\udcff"],
    ids=ascii,
)
def test_a_token_that_is_no_spelling_of_an_id_is_refused_naming_whose(token: str) -> None:
    with pytest.raises(InvalidRequest) as customer:
        parse_subject(f"solvent.v1.default.{token}.debit")
    assert customer.value.field == "customer"
    with pytest.raises(InvalidRequest) as environment:
        parse_subject(f"solvent.v1.{token}.acme.debit")
    assert environment.value.field == "environment"
