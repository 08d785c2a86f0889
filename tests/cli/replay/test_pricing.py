"""A metered quantity's cost against exact fractions."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.replay.decimals import parse_number, rounded, shortest
from solvent.transports.cli.replay.pricing import cost, parse_price, recorded_quantity

quantities = st.decimals(min_value=0, max_value=Decimal("999999999999999999"), places=9, allow_nan=False)
prices = st.decimals(min_value=0, max_value=Decimal("999999999999"), places=18, allow_nan=False)
pers = st.decimals(min_value=Decimal("0.000000001"), max_value=10**9, places=9, allow_nan=False)
UNITS_MAX = 2**63 - 1


def half_even(exact: Fraction, scale: int) -> Fraction:
    """Python rounds a Fraction half-even and exactly."""
    return Fraction(round(exact * 10**scale), 10**scale)


def up(exact: Fraction, scale: int) -> Fraction:
    return Fraction(math.ceil(exact * 10**scale), 10**scale)


@given(quantities, prices, pers, st.integers(0, 9), st.sampled_from([None, "half-even", "up"]))
def test_cost_is_the_exact_quotient_rounded_once(
    quantity: Decimal, price: Decimal, per: Decimal, scale: int, rounding: str | None
) -> None:
    exact = Fraction(quantity) * Fraction(price) / Fraction(per)
    expected = up(exact, scale) if rounding == "up" else half_even(exact, scale)
    try:
        found = cost(quantity, price, per=per, scale=scale, field="tokens", rounding=rounding)
    except InvalidRequest as refused:
        assert refused.field == "tokens"
        assert expected * 10**scale > UNITS_MAX
    else:
        assert Fraction(found) == expected


@pytest.mark.parametrize(
    ("quantity", "price", "expected"),
    [
        ("1", "0.0000005", "0"),
        ("3", "0.0000005", "0.000002"),
        ("5", "0.0000005", "0.000002"),
        ("1", "0.0000015", "0.000002"),
    ],
)
def test_a_tie_goes_to_the_even_neighbour(quantity: str, price: str, expected: str) -> None:
    assert cost(Decimal(quantity), Decimal(price), scale=6, field="tokens") == Decimal(expected)


@given(quantities)
def test_a_free_metric_costs_nothing(quantity: Decimal) -> None:
    assert not cost(quantity, Decimal(0), scale=6, field="tokens")


@pytest.mark.parametrize("quantity", ["-1", "1e19", "0.0000000001"])
def test_a_quantity_that_cannot_be_kept_is_refused_by_its_column(quantity: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        recorded_quantity(Decimal(quantity), "Tokens", None)
    assert refused.value.field == "Tokens"


@pytest.mark.parametrize("text", ["", "x", "-1", "1e-5", ".5", "1.", "NaN", "0." + "1" * 19, "1" * 13, "٣"])
def test_a_price_is_plain_decimal_text(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_price(text, "--price tokens")


@pytest.mark.parametrize(
    "value",
    [
        *(0.1, True, None, "", ".", "1_000", "1,000", "0x10", "Infinity", Decimal("NaN"), Decimal("Infinity"), [1]),
        *("9" * 65, "1e41", "1e999", 10**40, Decimal("1e999999999"), Decimal("1." + "1" * 100), "1e-200"),
    ],
)
def test_what_is_no_exact_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        parse_number(value, "amount")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_numbers_read_back_exactly(number: Decimal) -> None:
    assert parse_number(str(number), "amount") == number
    assert parse_number(number, "amount") == number


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1.50000000000000000000", "1.5"),
        ("100", "100"),
        ("1e3", "1000"),
        ("12E-1", "1.2"),
        ("0e-50", "0"),
        ("-0", "0"),
        ("  7 ", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+3", "3"),
    ],
)
def test_a_number_is_what_it_equals_however_it_is_written(written: str, number: str) -> None:
    for value in (written, Decimal(written)):
        assert str(parse_number(value, "amount")) == number


def test_a_whole_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="thousands of digits"):
        parse_number(10**5000, "amount")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
def test_the_shortest_form_is_the_same_number(number: Decimal) -> None:
    found = shortest(number)
    assert found == number
    assert f"{found:f}" == (f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}")
    assert found.as_tuple().digits[-1] or found == found.to_integral_value()


@pytest.mark.parametrize(
    ("number", "rounding", "expected"),
    [
        ("1.234567", None, "1.234567"),
        ("1.2345675", "half-even", "1.234568"),
        ("1.2345665", "half-even", "1.234566"),
        ("1.2345661", "up", "1.234567"),
        ("0.0000001", "half-even", "0"),
        ("0.0000001", "up", "0.000001"),
        ("0.9999999", "half-even", "1"),
    ],
)
def test_more_places_are_rounded_as_an_option_says(number: str, rounding: str | None, expected: str) -> None:
    assert str(rounded(Decimal(number), 6, "cost", rounding)) == expected


def test_more_places_are_refused_unless_an_option_says_how_to_round() -> None:
    with pytest.raises(InvalidRequest, match="cost: expected at most 6 decimal places, or --round"):
        rounded(Decimal("1.2345671"), 6, "cost", None)
    assert recorded_quantity(Decimal("0.0000000012"), "q", "up") == Decimal("0.000000002")
