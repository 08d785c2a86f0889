"""The written names of pools: every pool has one canonical form, and both forms lead back to it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import (
    ID_CHARS_MAX,
    PoolId,
    check_id,
    customer_prefixes,
    environment_prefix,
    parse_pool,
    pool_id,
)

# Few different characters, so that ids often contain, equal or begin with one another, and the neighbours of "/"
# and ":" in the order of characters.
tricky = st.text("a/:@%. -09;0Z\x7e2Fé", min_size=1, max_size=6).filter(str.isprintable)
anything = st.text(min_size=1, max_size=ID_CHARS_MAX).filter(str.isprintable)
ids = tricky | anything
names = st.sampled_from(["default", "credits"]) | ids
parts = st.tuples(names, ids, st.none() | ids, names)


@given(parts)
@example(("default", "acme", None, "credits"))
@example(("credits", "default", "default", "default"))
@example(("a@b", "c/d", "e:f", "g%h"))
@example(("%2F", "%40", "%3a", "%25"))
@example(("😀" * 128, " " * 128, "é" * 128, "%" * 128))
@settings(max_examples=300)
def test_both_written_forms_lead_back_to_the_same_pool(pool: tuple[str, str, str | None, str]) -> None:
    environment, customer, resource, currency = pool
    made = pool_id(environment, customer, resource, currency)
    for written in (str(made), made.canonical):
        read = parse_pool(written)
        assert (read.environment, read.customer, read.resource, read.currency) == pool
        assert read == made
        assert hash(read) == hash(made)
        assert read.canonical == made.canonical
        assert str(read) == str(made)
    assert parse_pool(made) is made


@given(parts, parts)
@example(("default", "a/b", None, "credits"), ("default", "a", "b", "credits"))
@example(("default", "a:b", None, "credits"), ("default", "a", None, "b"))
@example(("a", "b", None, "credits"), ("default", "a@b", None, "credits"))
@example(("default", "a", None, "credits"), ("default", "a", "a", "credits"))
@settings(max_examples=300)
def test_different_pools_never_share_a_written_form(
    one: tuple[str, str, str | None, str], other: tuple[str, str, str | None, str]
) -> None:
    first, second = pool_id(*one), pool_id(*other)
    assert (first.canonical == second.canonical) == (one == other)
    assert (str(first) == str(second)) == (one == other)
    assert (first == second) == (one == other)


@given(parts)
def test_inside_a_written_form_only_the_separators_are_left_plain(pool: tuple[str, str, str | None, str]) -> None:
    canonical = pool_id(*pool).canonical
    assert canonical.count("@") == 1
    assert canonical.count(":") == 1
    assert canonical.count("/") == (pool[2] is not None)
    assert not any(character.isspace() for character in canonical)


@pytest.mark.parametrize(
    ("pool", "written", "canonical"),
    [
        (("default", "acme", None, "credits"), "acme", "default@acme:credits"),
        (("default", "acme", "website-1", "credits"), "acme/website-1", "default@acme/website-1:credits"),
        (("default", "acme", None, "tokens"), "acme:tokens", "default@acme:tokens"),
        (("staging", "acme", None, "credits"), "staging@acme", "staging@acme:credits"),
        (("staging", "acme", "w", "tokens"), "staging@acme/w:tokens", "staging@acme/w:tokens"),
        (("default", "a b@c", "x/y", "100%"), "a%20b%40c/x%2Fy:100%25", "default@a%20b%40c/x%2Fy:100%25"),
        (("default", "Ünï", None, "credits"), "Ünï", "default@Ünï:credits"),
    ],
)
def test_defaults_are_left_out_for_people_and_named_in_the_canonical_form(
    pool: tuple[str, str, str | None, str], written: str, canonical: str
) -> None:
    assert str(pool_id(*pool)) == written
    assert pool_id(*pool).canonical == canonical


@given(ids)
def test_any_character_may_be_percent_encoded_in_what_people_write(customer: str) -> None:
    assert parse_pool(quote(customer, safe="")).customer == customer


def test_hexadecimal_digits_may_be_small() -> None:
    assert parse_pool("a%2fb") == pool_id("default", "a/b")
    assert parse_pool("a%2fb").canonical == "default@a%2Fb:credits"


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("", "customer"),
        ("@", "environment"),
        ("@acme", "environment"),
        ("staging@", "customer"),
        ("acme/", "resource"),
        ("/w", "customer"),
        ("acme:", "currency"),
        (":tokens", "customer"),
        ("a/b/c", "pool"),
        ("a:b/c", "pool"),
        ("a:b:c", "pool"),
        ("a@b@c", "pool"),
        ("a/b@c", "pool"),
        ("a:b@c", "pool"),
        ("a/b:c@d", "pool"),
        ("100%", "pool"),
        ("a%2", "pool"),
        ("a%zz", "pool"),
        ("a%%20", "pool"),
        ("%FF", "pool"),
        ("%C3%28", "pool"),
        ("%ED%A0%80", "pool"),
        ("a\x00", "customer"),
        ("a%00", "customer"),
        ("a\nb", "customer"),
        ("a%0Ab", "customer"),
        ("a\u2028b", "customer"),
        ("a\ud800", "customer"),
        ("acme/w\x7f", "resource"),
        ("acme:\u200b", "currency"),
        ("x" * 129, "customer"),
        ("acme/" + "x" * 129, "resource"),
        ("%41" * 129, "customer"),
        ("x" * 100_000, "pool"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_names_no_pool_is_refused_by_the_part_that_is_wrong(written: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_pool(written)
    assert refused.value.field == field
    assert len(str(refused.value)) < 200


@given(st.text() | st.text("a/:@%2F ", max_size=12))
@settings(max_examples=500)
def test_any_text_is_a_pool_or_refused_and_what_is_read_is_read_again(written: str) -> None:
    try:
        pool = parse_pool(written)
    except InvalidRequest:
        return
    assert parse_pool(pool.canonical) == pool
    assert parse_pool(str(pool)) == pool


@pytest.mark.parametrize("value", [None, 1, b"acme", ["acme"], 1.5, ("default", "acme", None, "credits")])
def test_a_pool_is_named_by_text(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_pool(value)
    assert refused.value.field == "pool"


@pytest.mark.parametrize("part", ["environment", "customer", "resource", "currency"])
@pytest.mark.parametrize("value", ["", "x" * 129, "a\tb", "\x85", "\ud800"], ids=ascii)
def test_a_part_that_is_no_id_is_refused_by_its_name(part: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        pool_id(**{"customer": "acme", part: value})
    assert refused.value.field == part
    assert pool_id(**{"customer": "acme", part: "x" * 128})


@given(st.text(max_size=140))
def test_an_id_is_1_to_128_printable_characters(value: str) -> None:
    if 1 <= len(value) <= 128 and value.isprintable():
        assert check_id(value, "key") == value
    else:
        with pytest.raises(InvalidRequest) as refused:
            check_id(value, "key")
        assert refused.value.field == "key"


@given(parts, st.tuples(names, ids))
@example(("default", "acme", None, "credits"), ("default", "ac"))
@example(("default", "acme", "w", "credits"), ("default", "acme/w"))
@example(("default", "acme/w", None, "credits"), ("default", "acme"))
@example(("default", "acme:w", None, "credits"), ("default", "acme"))
@example(("default", "acme.", None, "credits"), ("default", "acme"))
@example(("default", "acme;", None, "credits"), ("default", "acme"))
@example(("x", "acme", None, "credits"), ("default", "acme"))
@settings(max_examples=400)
def test_the_prefixes_of_a_customer_select_exactly_its_pools(
    pool: tuple[str, str, str | None, str], asked: tuple[str, str]
) -> None:
    canonical = pool_id(*pool).canonical
    selected = [canonical.startswith(prefix) for prefix in customer_prefixes(*asked)]
    assert any(selected) == (pool[:2] == asked)
    assert not all(selected)
    assert selected[0] == (pool[:2] == asked and pool[2] is not None)


@given(st.lists(parts, min_size=1, max_size=12), st.integers(0, 11))
def test_a_range_of_sorted_names_holds_exactly_the_customers_pools(
    pools: list[tuple[str, str, str | None, str]], chosen: int
) -> None:
    environment, customer = pools[chosen % len(pools)][:2]
    known = sorted({pool_id(*pool).canonical for pool in pools})
    found = [
        name
        for prefix in customer_prefixes(environment, customer)
        for name in known
        if prefix <= name < prefix + "\U0010ffff"
    ]
    assert sorted(found) == sorted({pool_id(*pool).canonical for pool in pools if pool[:2] == (environment, customer)})


@given(parts, names)
def test_the_prefix_of_an_environment_selects_exactly_its_pools(
    pool: tuple[str, str, str | None, str], environment: str
) -> None:
    assert pool_id(*pool).canonical.startswith(environment_prefix(environment)) == (pool[0] == environment)


@given(parts)
def test_a_pool_id_equals_only_a_pool_id(pool: tuple[str, str, str | None, str]) -> None:
    made = pool_id(*pool)
    again = PoolId(*pool, canonical=made.canonical)
    assume(made is not again)
    assert made == again
    assert made != made.canonical
