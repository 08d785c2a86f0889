"""The gate for everything from outside: what passes is kept intact, what does not is refused by its field."""

from __future__ import annotations

import math
import time
from collections import UserDict
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.api.requests import GrantRequest
from solvent.engine.rules.checking import check, debit_command
from solvent.engine.rules.commands import Grant
from solvent.engine.values.dimensions import DIMENSIONS_BYTES_MAX, decode_dimensions, encode_dimensions
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.numbers import WrittenNumber
from solvent.engine.values.quantities import check_quantity
from solvent.engine.values.terms import CostBasis


def grant_command(*, scale: int, **fields: Any) -> Grant:
    command = check(GrantRequest(pool="acme", **fields), scale)
    assert isinstance(command, Grant)
    return command


HOSTILE = [
    "amount",
    "select",
    "'; drop table frame; --",
    '"quoted"',
    "a.b",
    "a/b:c@d%e",
    "\x00",
    "a\x00b",
    "\n\t\r",
    "\u202eright-to-left",
    "\ufeff",
    "😀",
    "e\u0301",
    "é",
    "__proto__",
    "__class__",
    "{0}",
    "%s",
    " ",
    "None",
    "true",
    "1e5",
]

# Categories without lone surrogates: those are no text and are refused.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(HOSTILE)
written = WrittenNumber
dimension_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.sampled_from(HOSTILE)
values = (
    texts
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.sampled_from([0, 1, True, False, 0.0, -0.0, 1.0, "", "1", 5e-324, 1.7976931348623157e308, 2**53 + 1])
)
dimensions = st.dictionaries(dimension_names, values, max_size=12)


def exactly(found: dict[str, Any]) -> dict[str, tuple[type, str]]:
    """Tells 1 from True, which ``==`` does not. A whole number below 2^64 is an int."""
    whole = {name: int(each) for name, each in found.items() if type(each) is float and is_whole(each)}
    return {name: (type(value), repr(value)) for name, value in (found | whole).items()}


def is_whole(number: float) -> bool:
    return -(2**63) <= number < 2**64 and number % 1 == 0


@given(dimensions)
@example({name: name for name in HOSTILE})
@settings(max_examples=300)
def test_dimensions_come_back_as_they_were_given(given_: dict[str, Any]) -> None:
    assert exactly(decode_dimensions(encode_dimensions(given_, "dimensions"))) == exactly(given_)


@given(dimensions, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_equal_dimensions_are_equal_bytes_in_whatever_order_they_come(given_: dict[str, Any], random: Any) -> None:
    shuffled = list(given_.items())
    random.shuffle(shuffled)
    expected = bytes(encode_dimensions(given_, "dimensions"))
    assert bytes(encode_dimensions(dict(shuffled), "dimensions")) == expected
    assert bytes(encode_dimensions(MappingProxyType(dict(shuffled)), "dimensions")) == expected
    assert bytes(encode_dimensions(UserDict(shuffled), "dimensions")) == expected


@given(dimensions, dimensions)
def test_different_dimensions_are_different_bytes(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = bytes(encode_dimensions(one, "d")) == bytes(encode_dimensions(other, "d"))
    assert same == (exactly(one) == exactly(other))


@pytest.mark.parametrize(("one", "other"), [(1, 1.5), (1, True), (0, False), ("1", 1), ("", False), (1.0, True)])
def test_values_that_python_may_call_equal_are_kept_apart(one: Any, other: Any) -> None:
    assert bytes(encode_dimensions({"n": one}, "d")) != bytes(encode_dimensions({"n": other}, "d"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((1, 1.0), (0, -0.0), (2**53 + 2, 2.0**53 + 2), (2**63, 2.0**63), (-(2**63), -(2.0**63)), (10**22, 1e22)),
        *(
            (1, written("1e0")),
            (1, written("1.0")),
            (100, written("1E+2")),
            (0.1, written("0.10")),
            (0, written("-0.0")),
        ),
        *((0.001, written("1e-3")), (2**53 + 1, written("9007199254740993.0")), (10**18, written("1e18"))),
        *((2**64 - 1, written("18446744073709551615.000")), (0, written("0e999999999")), (1e300, written("10e299"))),
    ],
)
def test_equal_numbers_are_one_value_however_they_are_written(one: Any, other: Any) -> None:
    for field in ("dimensions", "metadata"):
        encoded = bytes(encode_dimensions({"n": one}, field))
        assert bytes(encode_dimensions({"n": other}, field)) == encoded
        assert decode_dimensions(msgspec.Raw(encoded)) == {"n": one}


@pytest.mark.parametrize(
    "text",
    [
        *("1e999999999", "1e-999999999", "1e400", "1e9999999999999999999999", "-1e309", "9" * 400 + ".0"),
        *("18446744073709551617.0", "-9223372036854775809.0", "10000000000000000000001.0"),
        *("0.1000000000000000055511151231257827", "0.12345678901234567890"),
    ],
)
def test_a_number_that_64_bits_cannot_hold_is_refused_not_rounded(text: str) -> None:
    with pytest.raises(InvalidRequest, match="hold exactly") as refused:
        encode_dimensions({"n": written(text)}, "dimensions")
    assert refused.value.field == "dimensions.n"


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_taken_exactly_or_not_at_all(number: Decimal) -> None:
    try:
        (taken,) = decode_dimensions(encode_dimensions({"n": written(f"{number:e}")}, "d")).values()
    except InvalidRequest:
        assert Decimal(repr(float(number))) != number
        assert number % 1 or not -(2**63) <= number < 2**64
    else:
        assert Decimal(repr(taken)) == number
        assert isinstance(taken, int) == (number % 1 == 0 and -(2**63) <= number < 2**64)


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"bytes",
        [1],
        (1,),
        {"a": 1},
        {1},
        Decimal(1),
        Fraction(1),
        1j,
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**63) - 1,
        10**5000,
        "x" * 1025,
        "\ud800",
        object(),
        msgspec.Raw(b"\x01"),
        nested(3),
        nested(50_000),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_a_value_that_is_no_dimension_is_refused_by_its_name(value: object) -> None:
    for field in ("dimensions", "metadata"):
        with pytest.raises(InvalidRequest) as refused:
            encode_dimensions({"fine": 1, "model": value, "also fine": "x"}, field)
        assert refused.value.field == f"{field}.model"


@pytest.mark.parametrize("name", ["", "x" * 129, 1, None, b"x", ("a",), True], ids=ascii)
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(InvalidRequest, match="names of 1 to 128 characters") as refused:
        encode_dimensions({"fine": 1, name: 1}, "dimensions")
    assert refused.value.field == "dimensions"


def test_a_name_that_is_no_text_is_refused_in_a_message_that_is() -> None:
    with pytest.raises(InvalidRequest) as refused:
        encode_dimensions({"a\ud800": 1}, "dimensions")
    assert refused.value.field.startswith("dimensions")
    assert str(refused.value).encode()


@pytest.mark.parametrize("value", [None, [], [("a", 1)], "a=1", 1, b"\x80"])
def test_dimensions_are_a_mapping(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        encode_dimensions(value, "dimensions")
    assert refused.value.field == "dimensions"


def test_dimensions_have_limits_that_can_be_reached_and_not_passed() -> None:
    assert len(decode_dimensions(encode_dimensions({f"n{i}": i for i in range(64)}, "d"))) == 64
    assert encode_dimensions({"x" * 128: "y" * 1024}, "d")
    assert encode_dimensions({"😀" * 128: "😀" * 1024}, "d")
    with pytest.raises(InvalidRequest, match="at most 64 names"):
        encode_dimensions({f"n{i}": i for i in range(65)}, "d")
    full = {f"n{i}": "x" * 1000 for i in range(8)}
    assert 7_900 < len(bytes(encode_dimensions(full, "d"))) <= DIMENSIONS_BYTES_MAX
    with pytest.raises(InvalidRequest, match="at most 8192 bytes"):
        encode_dimensions({**full, "one more": "x" * 200}, "d")


GRANT: dict[str, Any] = {"scale": 6, "amount": "1", "key": "k"}
DEBIT: dict[str, Any] = {"scale": 6, "amount": "1", "key": "k"}


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("amount", 1.5, "amount"),
        ("amount", "1.0000001", "amount"),
        ("key", "", "key"),
        ("key", "x" * 257, "key"),
        ("key", "a\x00b", "key"),
        ("key", None, "key"),
        ("key", 7, "key"),
        ("category", "free", "category"),
        ("category", None, "category"),
        ("category", "Paid", "category"),
        ("priority", -1, "priority"),
        ("priority", 101, "priority"),
        ("priority", 50.0, "priority"),
        ("priority", True, "priority"),
        ("priority", "50", "priority"),
        ("priority", None, "priority"),
        ("priority", 10**5000, "priority"),
        ("effective_at", "tomorrow", "effective_at"),
        ("effective_at", "2026-11-23T10:00:00", "effective_at"),
        ("expires_at", "2026-11-23", "expires_at"),
        ("expires_at", 0, "expires_at"),
        ("cost_basis", "0.01 USD", "cost_basis"),
        ("cost_basis", ("0.01",), "cost_basis"),
        ("cost_basis", {"per_credit": "0.01"}, "cost_basis"),
        ("cost_basis", {"per_credit": "0.01", "currency": "USD", "more": 1}, "cost_basis"),
        ("cost_basis", (0.01, "USD"), "cost_basis.per_credit"),
        ("cost_basis", ("-1", "USD"), "cost_basis.per_credit"),
        ("cost_basis", ("1e2", "USD"), "cost_basis.per_credit"),
        ("cost_basis", ("0.0000000000001", "USD"), "cost_basis.per_credit"),
        ("cost_basis", ("١", "USD"), "cost_basis.per_credit"),
        ("cost_basis", ("1\n", "USD"), "cost_basis.per_credit"),
        ("cost_basis", ("1", "usd"), "cost_basis.currency"),
        ("cost_basis", ("1", "US"), "cost_basis.currency"),
        ("cost_basis", ("1", "USD\n"), "cost_basis.currency"),
        ("cost_basis", ("1", 840), "cost_basis.currency"),
        ("name", "", "name"),
        ("name", "x" * 257, "name"),
        ("name", "a\nb", "name"),
        ("comment", "", "comment"),
        ("comment", "x" * 1025, "comment"),
        ("comment", "\ud800", "comment"),
        ("comment", 1, "comment"),
        ("metadata", {"a": None}, "metadata.a"),
        ("metadata", [], "metadata"),
    ],
    ids=lambda value: ascii(value)[:30] if not isinstance(value, int) or value < 10**9 else "huge",
)
def test_a_grant_is_refused_by_the_field_that_is_wrong(field: str, value: object, named: str) -> None:
    assert grant_command(**GRANT).amount == 1_000_000
    with pytest.raises(InvalidRequest) as refused:
        grant_command(**{**GRANT, field: value})
    assert refused.value.field == named
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("amount", 0, "amount"),
        ("amount", "-1", "amount"),
        ("key", "x" * 257, "key"),
        ("key", "\n", "key"),
        ("partial", 1, "partial"),
        ("partial", "true", "partial"),
        ("partial", None, "partial"),
        ("backfill", 0, "backfill"),
        ("backfill", None, "backfill"),
        ("partial", 10**5000, "partial"),
        ("occurred_at", "2026-11-23 10:00", "occurred_at"),
        ("occurred_at", 1.5, "occurred_at"),
        ("metric", "", "metric"),
        ("metric", "x" * 129, "metric"),
        ("metric", "a\x00", "metric"),
        ("quantity", -1, "quantity"),
        ("quantity", 1.5, "quantity"),
        ("quantity", "1e3", "quantity"),
        ("dimensions", {"model": None}, "dimensions.model"),
        ("dimensions", {"": 1}, "dimensions"),
        ("dimensions", "model=x", "dimensions"),
    ],
    ids=lambda value: ascii(value)[:30] if not isinstance(value, int) or value < 10**9 else "huge",
)
def test_a_debit_is_refused_by_the_field_that_is_wrong(field: str, value: object, named: str) -> None:
    assert debit_command(**DEBIT).amount == 1_000_000
    with pytest.raises(InvalidRequest) as refused:
        debit_command(**{**DEBIT, field: value})
    assert refused.value.field == named
    assert len(str(refused.value)) < 300


def test_a_grant_must_not_expire_before_it_takes_effect() -> None:
    noon, later = "2026-11-23T12:00:00Z", "2026-11-23T12:00:00.000001Z"
    assert grant_command(**GRANT, effective_at=noon, expires_at=later).expires_at is not None
    for ends in (noon, "2026-11-23T11:59:59Z", "2026-11-23T12:30:00+01:00"):
        with pytest.raises(InvalidRequest) as refused:
            grant_command(**GRANT, effective_at=noon, expires_at=ends)
        assert refused.value.field == "expires_at"


def test_limits_of_a_command_can_be_reached() -> None:
    grant = grant_command(
        scale=9,
        amount="9223372036.854775807",
        key="k" * 256,
        category="promotional",
        priority=100,
        name="n" * 256,
        comment="line\nline\x00" + "c" * 1000,
        cost_basis=("999999999999.999999999999", "CREDITSX"),
        metadata={"select": "'; drop table"},
    )
    assert grant.amount == 2**63 - 1
    assert grant.comment == "line\nline\x00" + "c" * 1000
    assert decode_dimensions(grant.metadata) == {"select": "'; drop table"}
    assert grant_command(**GRANT, priority=0).priority == 0


def test_a_cost_basis_may_be_given_in_three_ways() -> None:
    expected = CostBasis("0.0125", "USD")
    for given_ in (expected, ("0.0125", "USD"), {"currency": "USD", "per_credit": "0.0125"}):
        assert grant_command(**GRANT, cost_basis=given_).cost_basis == expected


@given(st.decimals(0, 10**18 - 1, places=9) | st.decimals(0, 10**18 - 1, allow_nan=False) | st.integers(0, 10**18 - 1))
@example(Decimal("0.000000001"))
@example(Decimal("1E+17"))
@example(Decimal("007.50"))
@example(10**18 - 1)
def test_a_quantity_is_kept_exactly_or_refused(quantity: Decimal | int) -> None:
    for given_ in (quantity, str(quantity)):
        try:
            kept = check_quantity(given_)
        except InvalidRequest as refusal:
            assert refusal.field == "quantity"
            # Refused: more than nine places are written, or text uses an exponent.
            assert not isinstance(quantity, int)
            exponent = quantity.as_tuple().exponent
            assert "E" in str(given_) or (isinstance(exponent, int) and exponent < -9)
        else:
            assert Fraction(kept) == Fraction(quantity)
            assert check_quantity(kept) == kept


@given(st.from_regex(r"[0-9]{1,18}(\.[0-9]{1,9})?", fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_equal_quantities_are_written_the_same(text: str) -> None:
    assert check_quantity(text) == check_quantity(Decimal(text))
    assert check_quantity("0" + text if len(text.partition(".")[0]) < 18 else text) == check_quantity(text)
    assert Fraction(check_quantity(text)) == Fraction(text)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        True,
        1.5,
        math.nan,
        None,
        b"1",
        [1],
        "",
        " 1",
        "+1",
        "-1",
        "1e3",
        "1_000",
        ".5",
        "5.",
        "٣",
        "NaN",
        "1" * 19,
        "1.0000000001",
        10**18,
        10**5000,
        -(10**5000),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal(-1),
        Decimal(10**18),
        Decimal("1e-10"),
        Decimal("1e9999999"),
        Decimal("1e-9999999"),
        "9" * 3_000_000,
    ],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, int) or abs(value) < 10**19 else "huge",
)
def test_what_is_no_quantity_is_refused_cheaply_by_its_field(value: object) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest) as refused:
        check_quantity(value, "events[3].quantity")
    assert time.process_time() - began < 0.5
    assert refused.value.field == "events[3].quantity"
    assert len(str(refused.value)) < 200


def test_a_decimal_of_a_huge_exponent_is_not_written_out() -> None:
    with pytest.raises(InvalidRequest):
        check_quantity(Decimal("1e999999999999"))
