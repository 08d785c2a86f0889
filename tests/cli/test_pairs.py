"""Options of the form name=value."""

from __future__ import annotations

import pytest

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.pairs import parse_cost_basis, parse_currencies, parse_dimensions, parse_pairs


def test_dimensions_are_text_unless_typed() -> None:
    given = ["model=gpt-4", "n=5", "n2:=5", "share:=0.5", "on:=true", "empty=", "eq=a=b"]
    assert parse_dimensions(given) == {
        "model": "gpt-4",
        "n": "5",
        "n2": 5,
        "share": 0.5,
        "on": True,
        "empty": "",
        "eq": "a=b",
    }


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("1.0", 1), ("1e2", 100), ("0.50", 0.5), ("-0.0", 0)])
def test_a_number_is_the_same_however_it_is_written(text: str, number: float) -> None:
    (found,) = parse_dimensions([f"n:={text}"]).values()
    assert (type(found), found) == (type(number), number)


@pytest.mark.parametrize(
    "word",
    [
        *("model", "=x", ":=5", 'x:="text"', "x:=null", "x:=[1]", "x:=five", "x:="),
        *("x:=1e999999999", "x:=0.1000000000000000055"),
    ],
)
def test_a_wrong_dimension_is_refused(word: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_dimensions([word])
    assert refused.value.field.startswith("--dim")


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        parse_dimensions(["a=1", "a:=1"])
    with pytest.raises(InvalidRequest):
        parse_pairs(["a=1", "a=2"], "--price")


@pytest.mark.parametrize("word", ["tokens", "tokens=", "tokens=10", "tokens=-1", "tokens=x", "tokens=²"])
def test_a_currency_has_0_to_9_places(word: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_currencies([word])
    assert parse_currencies(["tokens=0", "credits=9"]) == {"tokens": 0, "credits": 9}


@pytest.mark.parametrize("word", ["0.01", "USD", "USD=", "=0.01", "0.01 USD"])
def test_a_cost_basis_in_another_form_is_told_which_form_it_has(word: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_cost_basis(word, "--cost-basis")
    assert (refused.value.field, "USD=0.0125" in refused.value.expected) == ("--cost-basis", True)
    assert parse_cost_basis("USD=0.0125", "--cost-basis") == ("0.0125", "USD")
