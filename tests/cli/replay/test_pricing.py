"""A metered quantity's cost against exact fractions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.replay.pricing import cost, parse_number, parse_price

quantities = st.decimals(min_value=0, max_value=Decimal("999999999999999999"), places=9, allow_nan=False)
prices = st.decimals(min_value=0, max_value=Decimal("999999999999"), places=18, allow_nan=False)


def half_even(exact: Fraction, scale: int) -> Fraction:
    """Python rounds a Fraction half-even and exactly."""
    return Fraction(round(exact * 10**scale), 10**scale)


@given(quantities, prices, st.integers(0, 9))
def test_cost_is_the_exact_product_rounded_once_half_even(quantity: Decimal, price: Decimal, scale: int) -> None:
    found = cost(quantity, price, scale=scale, field="tokens")
    assert Fraction(found) == half_even(Fraction(quantity) * Fraction(price), scale)


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
        cost(Decimal(quantity), Decimal(1), scale=6, field="Tokens")
    assert refused.value.field == "Tokens"


@pytest.mark.parametrize("text", ["", "x", "-1", "1e-5", ".5", "1.", "NaN", "0." + "1" * 19, "1" * 13, "٣"])
def test_a_price_is_plain_decimal_text(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_price(text, "--price tokens")


@pytest.mark.parametrize("value", [0.1, True, None, "", "1_000", "1,000", "Infinity", Decimal("NaN"), "9" * 65, [1]])
def test_what_is_no_exact_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        parse_number(value, "amount")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_numbers_read_back_exactly(number: Decimal) -> None:
    assert parse_number(str(number), "amount") == number
    assert parse_number(number, "amount") == number
