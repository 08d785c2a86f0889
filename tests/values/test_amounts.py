"""Amounts are exact: what goes in comes out to the last unit, and what cannot be kept is refused by name."""

from __future__ import annotations

import time
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.values.amounts import SCALE_MAX, UNITS_MAX, format_amount, parse_amount, parse_scale, to_decimal
from solvent.engine.values.errors import InvalidRequest

scales = st.integers(0, SCALE_MAX)
units = st.integers(1, UNITS_MAX) | st.integers(1, 10**12)

signs = st.sampled_from(["", "+", "-"])
digits = st.text("0123456789", min_size=1, max_size=24)
places = st.just("") | st.text("0123456789", max_size=12).map(lambda text: f".{text}")
exponents = st.just("") | st.builds("{}{}{}".format, st.sampled_from("eE"), signs, st.integers(0, 30))
numbers = st.builds("{}{}{}{}".format, signs, digits, places, exponents)


@given(units, scales)
@example(UNITS_MAX, 0)
@example(UNITS_MAX, 9)
@example(1, 9)
def test_units_survive_the_way_out_and_back_at_every_scale(amount: int, scale: int) -> None:
    text = format_amount(amount, scale)
    assert Fraction(text) == Fraction(amount, 10**scale)
    assert parse_amount(text, scale) == amount
    assert parse_amount(to_decimal(amount, scale), scale) == amount
    assert to_decimal(amount, scale) == Decimal(text)


@given(st.integers(-UNITS_MAX, UNITS_MAX), scales)
def test_text_of_units_is_exact_and_as_short_as_it_can_be(amount: int, scale: int) -> None:
    text = format_amount(amount, scale)
    assert Fraction(text) == Fraction(amount, 10**scale)
    assert "." not in text or not text.endswith(("0", "."))
    assert "e" not in text.lower()


@given(numbers, scales)
@example("12345678901234567890.123456789", 9)
@example("0.0000000001", 9)
@example("9223372036854775807", 0)
@example("9223372036854775808", 0)
@example("9223372036854.775807", 6)
@example("9223372036854.775808", 6)
@example("1E+18", 0)
@example("1e-9", 9)
@example("12.", 6)
def test_a_number_is_kept_exactly_or_refused_but_never_rounded(text: str, scale: int) -> None:
    for given_as in (text, Decimal(text)):
        try:
            kept = parse_amount(given_as, scale)
        except InvalidRequest as refusal:
            assert refusal.field == "amount"
            exact = Fraction(Decimal(text)) * 10**scale
            # Only what does not fit may be refused: a sign, zero, more places than are kept, too much, or too odd.
            plain = text.lstrip("+").replace(".", "", 1).isdigit() and len(text) <= 30 and not text.endswith(".")
            written_places = len(text.partition(".")[2])
            assert not (plain and 0 < exact <= UNITS_MAX and written_places <= scale)
        else:
            assert Fraction(kept, 10**scale) == Fraction(Decimal(text))
            assert 1 <= kept <= UNITS_MAX


@given(st.integers(), scales)
def test_a_whole_number_of_credits_is_kept_exactly_or_refused(credits: int, scale: int) -> None:
    exact = credits * 10**scale
    if 1 <= exact <= UNITS_MAX:
        assert parse_amount(credits, scale) == exact
    else:
        with pytest.raises(InvalidRequest):
            parse_amount(credits, scale)


@given(units, scales, st.integers(1, 12))
def test_the_decimal_context_of_the_caller_changes_no_amount(amount: int, scale: int, precision: int) -> None:
    written = to_decimal(amount, scale)
    with localcontext(Context(prec=precision)):
        assert parse_amount(written, scale) == amount
        assert parse_amount(f"+{format_amount(amount, scale)}", scale) == amount
        assert to_decimal(amount, scale).as_tuple() == written.as_tuple()


@pytest.mark.parametrize("scale", range(SCALE_MAX + 1))
def test_the_largest_amount_is_63_bits_at_every_scale(scale: int) -> None:
    assert parse_amount(format_amount(UNITS_MAX, scale), scale) == UNITS_MAX
    beyond: list[str | Decimal | int] = [
        format_amount(UNITS_MAX + 1, scale),
        to_decimal(UNITS_MAX + 1, scale),
        UNITS_MAX // 10**scale + 1,
    ]
    for value in beyond:
        with pytest.raises(InvalidRequest) as refused:
            parse_amount(value, scale, "cap")
        assert refused.value.field == "cap"
        assert format_amount(UNITS_MAX, scale) in refused.value.expected


@pytest.mark.parametrize("scale", range(SCALE_MAX + 1))
def test_one_place_more_than_the_scale_is_refused(scale: int) -> None:
    smallest = f"0.{'0' * scale}1"
    for value in (smallest, Decimal(smallest)):
        with pytest.raises(InvalidRequest, match="decimal places") as refused:
            parse_amount(value, scale)
        assert refused.value.field == "amount"
        assert parse_amount("1" if scale == 0 else f"0.{'0' * (scale - 1)}1", scale) == 1


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        0.1,
        float("nan"),
        float("inf"),
        True,
        False,
        None,
        b"1",
        [1],
        {"amount": 1},
        Fraction(1, 2),
        1j,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("-Infinity"),
        Decimal("1e400"),
        Decimal("1e-400"),
        Decimal("0E+400"),
        "",
        " ",
        " 1",
        "1 ",
        "1\n",
        "1_000",
        "1,000",
        "1,5",
        ".5",
        "5.",
        "1.2.3",
        "--1",
        "+-1",
        "0x10",
        "1e",
        "e1",
        "1e400",
        "1e99999",
        "1E+9999",
        "1e-400",
        "NaN",
        "nan",
        "Infinity",
        "inf",
        "٣",
        "1٣",
        "1.٣",
        "²",
        "１２",
        "1\x00",
        "\ud800",
        "0",
        "0.0",
        "-0",
        "0e5",
        0,
        "-1",
        "-0.000001",
        -1,
        Decimal("-1"),
        Decimal(0),
        "1" * 65,
        "0" * 63 + "10",
        "9" * 30,
    ],
    ids=ascii,
)
def test_what_is_no_amount_is_refused_by_its_field(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_amount(value, 6, "quota")
    assert refused.value.field == "quota"
    assert str(refused.value).startswith("quota: expected ")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        10**5000,
        -(10**5000),
        "9" * 5_000_000,
        "1e" + "9" * 5_000_000,
        Decimal("1e999999999999999999"),
        Decimal("1e-999999999999999999"),
        Decimal("-1e999999999999999999"),
        Decimal((0, (1,) * 100_000, -3)),
    ],
    ids=["int", "negative int", "digits", "exponent", "up", "down", "negative", "long decimal"],
)
def test_huge_numbers_are_refused_cheaply(value: object) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest) as refused:
        parse_amount(value, 9)
    # Writing any of these out, or multiplying it, takes far longer than looking at its length.
    assert time.process_time() - began < 0.5
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("12.5", 12_500_000),
        ("007", 7_000_000),
        ("+1", 1_000_000),
        ("1e-2", 10_000),
        ("1.5E1", 15_000_000),
        ("100e-2", 1_000_000),
    ],
)
def test_the_usual_ways_to_write_a_number_are_understood(written: str, expected: int) -> None:
    assert parse_amount(written, 6) == expected


@given(st.integers() | st.booleans() | st.floats() | st.text() | st.none())
@example(10**5000)
@settings(max_examples=50)
def test_a_scale_is_a_whole_number_from_0_to_9(value: object) -> None:
    if type(value) is int and 0 <= value <= 9:
        assert parse_scale(value) == value
    else:
        with pytest.raises(InvalidRequest) as refused:
            parse_scale(value, "currencies.tokens")
        assert refused.value.field == "currencies.tokens"
