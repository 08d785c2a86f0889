"""A rate card gives one answer, the exact one: a linear scan with fractions finds the same, and ties are refused."""

from __future__ import annotations

import time
from collections import UserDict
from collections.abc import Iterable, Mapping
from copy import deepcopy
from decimal import Context, Decimal, localcontext
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.audit.plain_rules import Difference, PlainPool
from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.commands import SetRates
from solvent.engine.rules.decide import decide
from solvent.engine.rules.events import Opened, RatesSet
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.limits import Limits
from solvent.engine.rules.outcomes import Unchanged, Unfit
from solvent.engine.rules.pool import Pool
from solvent.engine.rules.rates import RATES_MAX, CardVersion, Priced, Rate, RateBook, RateCard, parse_card, price
from solvent.engine.values.amounts import UNITS_MAX
from solvent.engine.values.errors import InvalidRequest, NotFound

Plain = dict[str, Any]

# A small world, so that rates meet: values that Python calls equal, or writes alike, and one that stands apart. Only 1
# and 1.0 are equal here.
NAMES = ["model", "tier", "region"]
VALUES: list[Any] = [1, 1.0, True, "1", "gpt-4"]
EVENTS: list[dict[str, Any]] = [
    {name: value for name, value in zip(NAMES, chosen, strict=True) if value is not None}
    for chosen in product([None, *VALUES], repeat=len(NAMES))
]

matches = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))
metrics = st.sampled_from(["input_tokens", "output_tokens"])
digits = st.text("0123456789", min_size=1, max_size=18)
credit_texts = st.builds(
    "{}{}".format,
    digits | st.sampled_from(["0", "30"]),
    st.just("") | st.text("0123456789", min_size=1, max_size=12).map(lambda places: f".{places}"),
)
quantity_texts = st.builds(
    "{}{}".format,
    digits | st.sampled_from(["0", "1", "1000000"]),
    st.just("") | st.text("0123456789", min_size=1, max_size=9).map(lambda places: f".{places}"),
)
pers = quantity_texts.filter(lambda text: Fraction(text) > 0) | st.integers(1, 10**18 - 1)
rates = st.builds(
    lambda metric, match, credits, per: {"metric": metric, "match": match, "credits": credits, "per": per},
    metrics,
    matches,
    credit_texts,
    pers,
)


def items_of(match: Mapping[str, Any]) -> set[tuple[str, bool, Any]]:
    return {(name, isinstance(value, bool), value) for name, value in match.items()}


def naive_ties(card: list[Plain]) -> list[tuple[int, int]]:
    """Every pair that may not be, by the definition, looking at every pair."""
    ties = []
    for (i, one), (j, other) in combinations(enumerate(card), 2):
        if one["metric"] != other["metric"] or len(one["match"]) != len(other["match"]):
            continue
        both = items_of(one["match"]) | items_of(other["match"])
        if len({name for name, _, _ in both}) < len(both):
            continue
        stands = [rate for rate in card if rate["metric"] == one["metric"] and items_of(rate["match"]) == both]
        if not stands or both == items_of(one["match"]):
            ties.append((i, j))
    return ties


def without_ties(card: list[Plain]) -> list[Plain]:
    """Drop what is there twice, and add what is missing, until no two rates tie."""
    while ties := naive_ties(card):
        i, j = ties[0]
        one, other = card[i], card[j]
        if items_of(one["match"]) == items_of(other["match"]):
            card = [rate for place, rate in enumerate(card) if place != j]
        else:
            card = [*card, {**one, "match": {**one["match"], **other["match"]}}]
    return card


cards = st.lists(rates, max_size=6).map(without_ties)


def naive_find(card: list[Plain], metric: str, dimensions: Mapping[str, Any]) -> Plain | None:
    fitting = [rate for rate in card if rate["metric"] == metric and items_of(rate["match"]) <= items_of(dimensions)]
    return max(fitting, key=lambda rate: len(rate["match"]), default=None)


def naive_units(rate: Plain, quantity: str, scale: int) -> int:
    # A fraction rounds half-even.
    units: Fraction = Fraction(quantity) * Fraction(rate["credits"]) / Fraction(rate["per"]) * 10**scale
    return round(units)


def same(found: Rate | None, expected: Plain | None) -> bool:
    if found is None or expected is None:
        return found is None and expected is None
    return (
        found.metric == expected["metric"]
        and items_of(dict(found.match)) == items_of(expected["match"])
        and Fraction(found.credits) == Fraction(expected["credits"])
        and Fraction(found.per) == Fraction(expected["per"])
    )


def one_rate(**changes: Any) -> list[Plain]:
    return [{"metric": "input_tokens", "match": {"model": "gpt-4"}, "credits": "30", "per": 1_000_000, **changes}]


def calls_of(match: dict[str, Any]) -> Plain:
    return {"metric": "calls", "match": match, "credits": "1", "per": 1}


def refused(rates_: object, **options: Any) -> InvalidRequest:
    began = time.process_time()
    with pytest.raises(InvalidRequest) as refusal:
        parse_card(rates_, **options)
    assert time.process_time() - began < 1
    assert len(str(refusal.value)) < 600
    assert str(refusal.value).isprintable()
    return refusal.value


# Finding and pricing


def test_thirty_credits_per_million_tokens() -> None:
    card = parse_card(one_rate())
    priced = price(card, "input_tokens", 1_500, {"model": "gpt-4", "agent": "a"}, 6)
    assert priced == Priced(45_000, Rate("input_tokens", (("model", "gpt-4"),), "30", "1000000"))


@given(cards)
@settings(max_examples=60)
def test_every_event_finds_the_rate_that_a_linear_scan_finds(plain: list[Plain]) -> None:
    card = parse_card(plain)
    for event in EVENTS:
        for metric in ("input_tokens", "output_tokens", "images"):
            expected = naive_find(plain, metric, event)
            assert same(card.find(metric, event), expected)
            assert same(card.find(metric, UserDict({**event, "agent": "x"})), expected)


@given(cards)
@settings(max_examples=60)
def test_on_an_accepted_card_the_most_specific_rate_is_always_one(plain: list[Plain]) -> None:
    parse_card(plain)
    for event, metric in product(EVENTS, ("input_tokens", "output_tokens")):
        fitting = [rate for rate in plain if rate["metric"] == metric and items_of(rate["match"]) <= items_of(event)]
        sizes = [len(rate["match"]) for rate in fitting]
        assert not sizes or sizes.count(max(sizes)) == 1


@given(cards, metrics, quantity_texts, st.sampled_from(EVENTS), st.integers(0, 9))
@settings(max_examples=300)
def test_prices_are_those_of_exact_fractions(
    plain: list[Plain], metric: str, quantity: str, event: dict[str, Any], scale: int
) -> None:
    card = parse_card(plain)
    expected = naive_find(plain, metric, event)
    if expected is None:
        with pytest.raises(NotFound) as unknown:
            price(card, metric, quantity, event, scale)
        assert (unknown.value.what, unknown.value.id) == ("rate", metric)
        return
    units = naive_units(expected, quantity, scale)
    # The context of the caller may round: none of its digits may count.
    with localcontext(Context(prec=2)):
        for given_as in (quantity, Decimal(quantity)):
            if units > UNITS_MAX:
                with pytest.raises(InvalidRequest) as too_much:
                    price(card, metric, given_as, event, scale)
                assert too_much.value.field == "quantity"
            else:
                priced = price(card, metric, given_as, event, scale)
                assert priced.units == units
                assert same(priced.rate, expected)


@given(quantity_texts, credit_texts, pers, st.integers(0, 9))
@example("999999999999999999.999999999", "999999999999999999.999999999999", "999999999999999999.999999999", 0)
@example("0.000000001", "0.000000000001", "999999999999999999", 9)
@settings(max_examples=300)
def test_any_price_is_rounded_once_and_half_even(quantity: str, credits: str, per: str | int, scale: int) -> None:
    plain = one_rate(credits=credits, per=per, match={})
    units = naive_units(plain[0], quantity, scale)
    try:
        assert price(parse_card(plain), "input_tokens", quantity, None, scale).units == units
    except InvalidRequest as refusal:
        assert refusal.field == "quantity"
        assert units > UNITS_MAX


@pytest.mark.parametrize(
    ("quantity", "units"),
    [
        ("0", 0),
        ("1", 0),
        ("2", 1),
        ("3", 2),
        ("5", 2),
        ("7", 4),
        ("1.000000001", 1),
        ("0.999999999", 0),
        ("2.999999999", 1),
        ("3.000000001", 2),
        (10**18 - 1, 5 * 10**17),
        (Decimal("1E+17"), 5 * 10**16),
        (Decimal("5.0"), 2),
    ],
)
def test_an_exact_half_goes_to_the_even_neighbour(quantity: Any, units: int) -> None:
    halves = parse_card(one_rate(credits="0.5", per=1))
    assert price(halves, "input_tokens", quantity, {"model": "gpt-4"}, 0).units == units
    assert price(parse_card(one_rate(credits=1, per=2)), "input_tokens", quantity, {"model": "gpt-4"}, 0).units == units


def test_63_bits_are_a_price_and_one_more_is_refused() -> None:
    card = parse_card(one_rate(match={}, credits="1", per="1000"))
    assert price(card, "input_tokens", "9223372036854775.807", None, 6).units == UNITS_MAX
    with pytest.raises(InvalidRequest) as refusal:
        price(card, "input_tokens", "9223372036854775.808", None, 6)
    assert refusal.value.field == "quantity"
    assert "9223372036854.775807" in refusal.value.expected


@pytest.mark.parametrize(
    "quantity",
    [
        -1,
        "-1",
        Decimal("-1"),
        10**18,
        1.0,
        float("nan"),
        True,
        None,
        b"1",
        [1],
        "",
        "1e3",
        "1e999999999",
        "NaN",
        "Infinity",
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e999999999"),
        Decimal("1e-999999999"),
        "٣",
        "１",
        "²",
        "1" * 5_000_000,
        10**5000,
        "0.0000000001",
    ],
    ids=lambda value: ascii(type(value).__name__),
)
def test_what_is_no_quantity_is_refused(quantity: Any) -> None:
    card = parse_card(one_rate())
    began = time.process_time()
    with pytest.raises(InvalidRequest) as refusal:
        price(card, "input_tokens", quantity, {"model": "gpt-4"}, 6)
    assert refusal.value.field == "quantity"
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("scale", [-1, 10, True, 1.0, "6", None])
def test_a_scale_outside_0_to_9_prices_nothing(scale: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        price(parse_card(one_rate()), "input_tokens", 1, {"model": "gpt-4"}, scale)
    assert refusal.value.field == "scale"


@pytest.mark.parametrize("metric", ["", "m" * 129, "a\nb", None, 1, ["input_tokens"], b"input_tokens"])
def test_what_is_no_metric_prices_nothing(metric: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        price(parse_card(one_rate()), metric, 1, {}, 6)
    assert refusal.value.field == "metric"


# Types of values


class Model(StrEnum):
    GPT = "gpt-4"


class Seats(IntEnum):
    ONE = 1


class Colour(Enum):
    RED = "red"


def test_true_and_1_and_text_are_three_values_and_1_0_is_1() -> None:
    values: list[Any] = [True, 1, "1"]
    card = parse_card([{"metric": "calls", "match": {"n": v}, "credits": i} for i, v in enumerate(values, 1)])
    assert [price(card, "calls", 1, {"n": value}, 0).units for value in [*values, 1.0]] == [1, 2, 3, 2]
    for alone in [*values, 1.0]:
        card = parse_card(one_rate(match={"n": alone}))
        for value in [*values, 1.0, 0, False, 2, "", "True"]:
            found = card.find("input_tokens", {"n": value})
            assert (found is not None) == (items_of({"n": value}) == items_of({"n": alone}))


def test_rates_for_equal_numbers_are_equal_and_cannot_stand_on_one_card() -> None:
    for one, other in [(1, 1.0), (0, -0.0), (10**22, 1e22), (0.1, 1e-1)]:
        first, second = parse_card(one_rate(match={"n": one})), parse_card(one_rate(match={"n": other}))
        assert first == second
        assert msgspec.msgpack.encode(first) == msgspec.msgpack.encode(second)
        assert "rates[0]" in str(refused([*one_rate(match={"n": one}), *one_rate(match={"n": other})]))


def test_of_an_older_card_with_both_spellings_the_rate_of_the_whole_number_counts() -> None:
    old = [Rate("calls", (("n", 1.0),), "5"), Rate("calls", (("n", 1),), "7")]
    for value in (1, 1.0):
        assert price(RateCard("credits", tuple(old)), "calls", 1, {"n": value}, 0).units == 7


def test_rates_for_other_values_that_python_calls_equal_are_not_equal() -> None:
    for one, other in combinations([True, 1, "1"], 2):
        first, second = parse_card(one_rate(match={"n": one})), parse_card(one_rate(match={"n": other}))
        assert first != second
        assert first.rates[0] != second.rates[0]
        assert len({first.rates[0], second.rates[0]}) == 2
        assert msgspec.msgpack.encode(first) != msgspec.msgpack.encode(second)


def test_zero_has_one_sign() -> None:
    negative, positive = parse_card(one_rate(match={"n": -0.0})), parse_card(one_rate(match={"n": 0.0}))
    assert negative == positive
    assert msgspec.msgpack.encode(negative) == msgspec.msgpack.encode(positive)
    for zero in (0.0, -0.0):
        assert negative.find("input_tokens", {"n": zero}) == positive.rates[0]
    assert negative.find("input_tokens", {"n": 0}) == positive.rates[0]
    assert "rates[0]" in str(refused([*one_rate(match={"n": -0.0}), *one_rate(match={"n": 0.0})]))


def test_a_member_of_an_enumeration_counts_as_its_value() -> None:
    card = parse_card(one_rate(match={"model": Model.GPT, "seats": Seats.ONE}))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(card), type=RateCard) == card
    assert card == parse_card(one_rate(match={"model": "gpt-4", "seats": 1}))
    assert card.find("input_tokens", {"model": Model.GPT, "seats": Seats.ONE}) == card.rates[0]
    assert card.find("input_tokens", {"model": "gpt-4", "seats": 1}) == card.rates[0]
    assert card.find("input_tokens", {"model": "gpt-4", "seats": True}) is None


@pytest.mark.parametrize(
    "value", [None, b"gpt-4", ["gpt-4"], {}, Decimal(1), 1j, float("nan"), float("inf"), Colour.RED]
)
def test_an_event_with_an_impossible_value_is_not_priced_by_a_lesser_rate(value: Any) -> None:
    card = parse_card([*one_rate(), *one_rate(match={})])
    with pytest.raises(InvalidRequest) as refusal:
        price(card, "input_tokens", 1, {"model": value}, 6)
    assert refusal.value.field == "dimensions.model"


@pytest.mark.parametrize("dimensions", [[], "model", 1, [("model", "gpt-4")]])
def test_dimensions_are_an_object(dimensions: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        price(parse_card(one_rate()), "input_tokens", 1, dimensions, 6)
    assert refusal.value.field == "dimensions"


# Ties


few_matches = st.dictionaries(st.sampled_from([*NAMES, "seat"]), st.sampled_from([1, True]), max_size=3)


@given(st.lists(rates, max_size=6) | st.lists(few_matches, max_size=4).map(lambda few: [*map(calls_of, few)]))
@settings(max_examples=500)
@example([calls_of({"model": 1, "tier": 1}), calls_of({"model": 1, "region": 1})])
def test_a_card_is_refused_exactly_when_two_of_its_rates_tie(plain: list[Plain]) -> None:
    ties = naive_ties(plain)
    try:
        parse_card(plain)
    except InvalidRequest as refusal:
        # The refusal names two rates, and these two do tie.
        named = [(i, j) for i, j in ties if refusal.field == f"rates[{j}].match" and f"rates[{i}]" in refusal.expected]
        assert len(named) == 1
    else:
        assert not ties


def test_two_rates_that_one_event_can_match_are_refused_until_a_third_decides() -> None:
    model = {"metric": "calls", "match": {"model": "gpt-4"}, "credits": 1}
    tier = {"metric": "calls", "match": {"tier": "pro"}, "credits": 2}
    both = {"metric": "calls", "match": {"model": "gpt-4", "tier": "pro"}, "credits": 3}
    everything = {"metric": "calls", "credits": 4}
    refusal = refused([everything, model, tier])
    assert refusal.field == "rates[2].match"
    assert "rates[1]" in refusal.expected
    assert "(model, tier)" in refusal.expected
    card = parse_card([everything, model, tier, both])
    events = [{}, {"model": "gpt-4"}, {"tier": "pro"}, {"model": "gpt-4", "tier": "pro"}, {"model": "x", "tier": "y"}]
    assert [price(card, "calls", 1, event, 0).units for event in events] == [4, 1, 2, 3, 4]

    for too_much in ({"n": 1}, {"n": "1"}):
        refused([model, tier, {**both, "match": {**both["match"], **too_much}}])  # type: ignore[dict-item]
    assert refused([model, tier, {**both, "metric": "images"}]).field == "rates[1].match"
    assert refused([model, tier, {**both, "match": {"model": "gpt-4", "tier": "free"}}]).field == "rates[1].match"
    parse_card([model, {**tier, "metric": "images"}])
    parse_card([model, {**model, "match": {"model": "gpt-5"}}])


def test_the_same_match_twice_is_refused_however_it_is_written() -> None:
    for again in ({"model": "m", "n": 1}, {"n": 1, "model": "m"}, [["n", 1], ["model", "m"]], UserDict(n=1, model="m")):
        other = one_rate(match={"n": 2, "model": "m"})
        refusal = refused([*one_rate(match={"model": "m", "n": 1}), *other, *one_rate(match=again, credits=7)])
        assert refusal.field == "rates[2].match"
        assert "rates[0]" in refusal.expected
    assert refused([*one_rate(match={}), *one_rate(match={})]).field == "rates[1].match"


# The canonical form


@given(cards, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_equal_cards_encode_equally_in_whatever_order_and_writing_they_come(plain: list[Plain], random: Any) -> None:
    card = parse_card(plain)
    rewritten = []
    for rate in plain:
        match = list(rate["match"].items())
        random.shuffle(match)
        per = rate["per"] if isinstance(rate["per"], int) else Decimal(rate["per"])
        whole = rate["credits"].partition(".")[0]
        credits = f"0{rate['credits']}" if len(whole) < 18 else Decimal(rate["credits"])
        rewritten.append({"per": per, "credits": credits, "match": dict(match), "metric": rate["metric"]})
    random.shuffle(rewritten)
    again = parse_card(tuple(rewritten))
    assert again == card
    assert hash(again) == hash(card)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(card)
    assert msgspec.json.encode(again) == msgspec.json.encode(card)
    # Once parsed, a card is a fixed point: as rates, and as the plain data it is shown as.
    assert parse_card(card.rates) == card
    shown_as = msgspec.json.decode(msgspec.json.encode(card.rates))
    assert msgspec.msgpack.encode(parse_card(shown_as)) == msgspec.msgpack.encode(card)


values = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.sampled_from([5e-324, 1e16, 2**53 + 1, 1.7976931348623157e308])
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.dictionaries(names, values, max_size=8), credit_texts, quantity_texts.filter(lambda text: Fraction(text) > 0))
@settings(max_examples=200)
def test_a_card_survives_msgpack_and_json(match: dict[str, Any], credits: str, per: str) -> None:
    card = parse_card(one_rate(match=match, credits=credits, per=per), currency="tokens")
    assert items_of(dict(card.rates[0].match)) == items_of(match)
    assert card.find("input_tokens", match) is card.rates[0]  # the index that this builds is not encoded
    for encode, decode in (
        (msgspec.msgpack.encode, msgspec.msgpack.decode),
        (msgspec.json.encode, msgspec.json.decode),
    ):
        encoded = encode(card)
        decoded = decode(encoded, type=RateCard)
        assert decoded == card
        assert items_of(dict(decoded.rates[0].match)) == items_of(match)
        assert encode(decoded) == encoded
        assert decoded.find("input_tokens", match) == card.rates[0]
        book = RateBook().with_version(card, effective_at_us=5, now_us=5)
        assert book.at(5) is not None
        assert decode(encode(book), type=RateBook) == book


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("030", "30"),
        ("30.10", "30.1"),
        ("0.000000000001", "0.000000000001"),
        ("0", "0"),
        ("0.000", "0"),
        (30, "30"),
        (10**18 - 1, "9" * 18),
        (Decimal("3E-8"), "0.00000003"),
        (Decimal("3E+8"), "300000000"),
        (Decimal("30.100"), "30.1"),
        ("9" * 18 + "." + "9" * 12, "9" * 18 + "." + "9" * 12),
    ],
)
def test_credits_are_kept_as_the_shortest_text(written: Any, kept: str) -> None:
    assert parse_card(one_rate(credits=written)).rates[0].credits == kept


def test_what_may_be_left_out() -> None:
    card = parse_card([{"metric": "calls", "credits": "2"}])
    assert card == RateCard("credits", (Rate("calls", (), "2", "1"),))
    assert parse_card([], currency="tokens") == RateCard("tokens", ())
    assert parse_card([Rate("calls", {"b": 1, "a": 2}, "02.0")]).rates == (  # type: ignore[arg-type]
        Rate("calls", (("a", 2), ("b", 1)), "2"),
    )
    with pytest.raises(NotFound):
        price(parse_card([]), "calls", 1, {}, 6)


# Hostile input


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


NOT_TEXT: list[Any] = [None, 1.5, float("nan"), b"x", [], {}, (), {1}, 1j, nested(100_000), object]
NOT_NUMBERS: list[Any] = [
    *NOT_TEXT,
    True,
    False,
    0.5,
    30.0,
    float("inf"),
    "",
    " ",
    " 1",
    "1\n",
    "+1",
    "-1",
    "-0",
    -1,
    ".5",
    "5.",
    "1_000",
    "1,5",
    "0x10",
    "1e3",
    "3e-5",
    "1e999999999",
    "1e" + "9" * 1_000_000,
    "NaN",
    "sNaN",
    "Infinity",
    "-Infinity",
    "٣",
    "1.٣",
    "１２",
    "²",
    "1\x00",
    "\ud800",
    "9" * 19,
    "9" * 5_000_000,
    10**18,
    10**5000,
    -(10**5000),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"),
    Decimal("1e999999999999999999"),
    Decimal("1e-999999999999999999"),
    Decimal("-1"),
    Decimal((0, (1,) * 100_000, -3)),
    Fraction(1, 2),
]


def labelled(values_: Iterable[Any]) -> list[Any]:
    return [pytest.param(value, id=f"{place}-{type(value).__name__}") for place, value in enumerate(values_)]


@pytest.mark.parametrize("value", labelled([*NOT_NUMBERS, "0.0000000000001"]))
def test_what_is_no_price_is_refused_by_its_place(value: Any) -> None:
    assert refused([*one_rate(match={}), *one_rate(credits=value)]).field == "rates[1].credits"
    assert refused([Rate("calls", (), value)]).field == "rates[0].credits"


@pytest.mark.parametrize("value", labelled([*NOT_NUMBERS, 0, "0", "0.000", Decimal(0), "0.0000000001"]))
def test_what_is_no_quantity_to_pay_per_is_refused_by_its_place(value: Any) -> None:
    assert refused([*one_rate(match={}), *one_rate(per=value)]).field == "rates[1].per"
    assert refused([Rate("calls", (), "1", value)]).field == "rates[0].per"


@pytest.mark.parametrize("value", labelled([*NOT_TEXT, 1, True, "", "m" * 129, "m" * 10_000, "a\x00b", "\ud800"]))
def test_what_is_no_metric_is_refused_by_its_place(value: Any) -> None:
    assert refused([*one_rate(match={}), *one_rate(metric=value)]).field == "rates[1].metric"


def test_a_metric_has_at_most_128_characters() -> None:
    assert parse_card(one_rate(metric="m" * 128)).rates[0].metric == "m" * 128


@pytest.mark.parametrize(
    "value",
    labelled(
        [
            None,
            float("nan"),
            float("inf"),
            b"x",
            [],
            {},
            {"deeper": 1},
            {1},
            1j,
            Decimal(1),
            nested(100_000),
            object,
            Colour.RED,
            "v" * 1_025,
            "v" * 10_000,
            "\ud800",
            2**64,
            10**5000,
        ]
    ),
)
def test_what_is_no_value_of_a_dimension_is_refused_by_its_place(value: Any) -> None:
    for match in ({"tier": "pro", "model": value}, [["tier", "pro"], ["model", value]]):
        assert refused([*one_rate(match={}), *one_rate(match=match)]).field == "rates[1].match.model"


@pytest.mark.parametrize("name", labelled([None, 1, True, 1.5, b"x", "", "n" * 129, "n" * 10_000, (1,)]))
def test_what_is_no_name_of_a_dimension_is_refused_by_its_place(name: Any) -> None:
    for match in ({name: "x"}, [[name, "x"]], ((name, "x"),)):
        assert refused([*one_rate(match={}), *one_rate(match=match)]).field == "rates[1].match"


def test_a_name_that_is_no_text_is_refused_without_breaking_the_refusal() -> None:
    assert refused(one_rate(match={"\ud800": "x"})).field.startswith("rates[0].match")
    assert refused(one_rate(match=[[["model"], "x"]])).field == "rates[0].match"


@pytest.mark.parametrize(
    "match",
    labelled(
        [
            None,
            1,
            True,
            1.5,
            "model",
            b"model",
            {"model"},
            object,
            ["model"],
            ["mo"],
            [["model"]],
            [["model", 1, 2]],
            [{"model": 1, "tier": 2}],
            nested(100_000),
            iter([("model", 1)]),
            {f"n{i}": i for i in range(65)},
            [[f"n{i}", i] for i in range(65)],
            [["n", 1]] * 1_000_000,
            {f"n{i}": "v" * 1_000 for i in range(10)},
        ]
    ),
)
def test_what_is_no_match_is_refused_by_its_place(match: Any) -> None:
    assert refused([*one_rate(match={}), *one_rate(match=match)]).field == "rates[1].match"


def test_a_name_asked_for_twice_is_refused() -> None:
    assert refused(one_rate(match=[["model", "a"], ["model", "b"]])).field == "rates[0].match.model"
    assert refused([Rate("calls", (("model", "a"), ("model", "a")), "1")]).field == "rates[0].match.model"


@pytest.mark.parametrize(
    "rate",
    labelled([None, 1, 1.5, True, "rate", b"rate", [], ["metric"], (), {"metric"}, nested(100_000), object, Rate]),
)
def test_what_is_no_rate_is_refused_by_its_place(rate: Any) -> None:
    assert refused([*one_rate(), rate]).field == "rates[1]"


@pytest.mark.parametrize(
    "whole", labelled([None, 1, 1.5, True, "rates", b"rates", {}, {"rates": []}, {1}, object, iter([]), parse_card([])])
)
def test_what_is_no_list_of_rates_is_refused(whole: Any) -> None:
    assert refused(whole).field == "rates"


@pytest.mark.parametrize("currency", labelled([*NOT_TEXT, 1, "", "c" * 129, "a\nb"]))
def test_what_is_no_currency_is_refused(currency: Any) -> None:
    assert refused(one_rate(), currency=currency).field == "currency"


def test_unknown_and_missing_fields_are_refused_by_name() -> None:
    assert refused([*one_rate(match={}), *one_rate(price="1")]).field == "rates[1].price"
    assert refused([{**one_rate()[0], 1: 2}]).field == "rates[0]"
    assert refused([{**one_rate()[0], None: 2}]).field == "rates[0]"
    assert refused([{**one_rate()[0], "x" * 10_000: 2}]).field == "rates[0]." + "x" * 60
    assert refused([{**one_rate()[0], "\ud800\n": 2}]).field == "rates[0].\\ud800\\n"
    assert refused([{"credits": "1"}]).field == "rates[0].metric"
    assert refused([{"metric": "calls"}]).field == "rates[0].credits"
    assert refused([{}]).field == "rates[0].metric"
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"currency":"credits","rates":[],"minimum":"1"}', type=RateCard)


def test_a_card_holds_a_thousand_rates_and_not_one_more() -> None:
    thousand = [{"metric": "calls", "match": {"n": n}, "credits": n} for n in range(RATES_MAX)]
    assert len(parse_card(thousand).rates) == RATES_MAX == 1_000
    refusal = refused([*thousand, {"metric": "calls", "credits": 1}])
    assert refusal.field == "rates"


def test_the_worst_cards_are_checked_quickly() -> None:
    # No two of these tie, as every one asks for another value of "n"; but all of their other names differ.
    apart = [
        {"metric": "calls", "match": {"n": i, **{f"a{i}.{j}": j for j in range(63)}}, "credits": 1}
        for i in range(RATES_MAX)
    ]
    # Any two of one size are compatible, and every union is there.
    lattice = [
        {"metric": "calls", "match": dict.fromkeys(chosen, 1), "credits": 1}
        for size in range(10)
        for chosen in combinations("abcdefghi", size)
    ]
    began = time.process_time()
    cards_ = [parse_card(apart), parse_card(lattice)]
    assert time.process_time() - began < 3
    assert [len(card.rates) for card in cards_] == [1_000, 512]
    assert refused([*lattice[:-1]]).field.startswith("rates[")
    assert price(cards_[0], "calls", 7, apart[500]["match"], 0).units == 7  # type: ignore[arg-type]


def test_a_lookup_does_not_walk_through_the_card() -> None:
    card = parse_card(
        [
            {
                "metric": f"metric{i % 4}",
                "match": {"model": f"m{i}", "tier": "pro"} if i % 2 else {"model": f"m{i}"},
                "credits": i,
            }
            for i in range(RATES_MAX)
        ]
    )
    event: Any = {"model": "m997", "tier": "pro", "agent": "a", "user": "u"}
    assert price(card, "metric1", 1, event, 6).units == 997_000_000
    began = time.process_time()
    for _ in range(10_000):
        card.find("metric1", event)
    # A scan over the card's rates takes a hundred times as long.
    assert time.process_time() - began < 0.5


# Versions


def card_of(credits: int) -> RateCard:
    return parse_card([{"metric": "calls", "credits": credits}])


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=12),
    st.integers(-1, 130),
)
def test_the_book_answers_what_a_scan_over_its_versions_answers(steps: list[tuple[int, int]], us: int) -> None:
    book, now = RateBook(), 0
    for number, (passed, ahead) in enumerate(steps, 1):
        now += passed
        before = book
        answers = [before.at(moment) for moment in range(now)]
        book = before.with_version(card_of(number), effective_at_us=now + ahead, now_us=now)
        assert len(before.versions) == number - 1
        assert book.versions[-1] == CardVersion(number, now + ahead, card_of(number))
        # History is not repriced.
        assert [book.at(moment) for moment in range(now)] == answers
    in_effect = [version for version in book.versions if version.effective_at_us <= us]
    expected = max(in_effect, key=lambda version: (version.effective_at_us, version.number), default=None)
    assert book.at(us) is expected
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=RateBook) == book


def test_a_version_takes_effect_at_its_microsecond() -> None:
    book = RateBook().with_version(card_of(1), effective_at_us=10, now_us=5)
    book = book.with_version(card_of(2), effective_at_us=20, now_us=5).with_version(
        card_of(3), effective_at_us=20, now_us=6
    )
    found = [book.at(us) for us in (0, 9, 10, 19, 20, 10**15)]
    assert [None if version is None else version.number for version in found] == [None, None, 1, 1, 3, 3]


def test_an_earlier_start_than_one_planned_holds_until_that_one() -> None:
    book = RateBook().with_version(card_of(1), effective_at_us=30, now_us=0)
    book = book.with_version(card_of(2), effective_at_us=20, now_us=0)
    assert [version and version.number for version in map(book.at, (19, 20, 29, 30))] == [None, 2, 2, 1]


METRICS = ("calls", "tokens", "images")


def priced_so(card: RateCard | None) -> dict[str, str]:
    """The price of each metric that has one."""
    return {} if card is None else {rate.metric: rate.credits for rate in card.rates}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9),
            st.integers(-30, 6),
            st.dictionaries(st.sampled_from(METRICS), st.sampled_from(["1", "2"]), max_size=3),
        ),
        max_size=12,
    )
)
def test_a_card_may_be_dated_back_if_nothing_that_had_a_price_gets_another(
    steps: list[tuple[int, int, dict[str, str]]],
) -> None:
    pool, plain, now = Pool(), PlainPool(), 100
    limits = Limits(occurred_back_max_us=25)
    cards: list[tuple[int, int, dict[str, str]]] = []
    """(in effect from, begins to rule, prices), in the order in which they were set."""

    def stands(moment: int) -> dict[str, str]:
        found = [(rules, number) for number, (starts, rules, _) in enumerate(cards) if starts <= moment]
        return cards[max(found)[1]][2] if found else {}

    for passed, ahead, prices in steps:
        now += passed
        starts = now + ahead
        table = {moment: stands(moment) for moment in range(60, 300)}
        past = [table[at] for at in range(starts, now)]
        changes = any(prices.get(metric) != price for stood in past for metric, price in stood.items())
        card = parse_card([{"metric": metric, "credits": price} for metric, price in prices.items()])
        outcome = decide(pool, SetRates(card, starts), now, limits=limits)
        if isinstance(outcome, Unchanged):
            assert stands(starts) == prices
            continue
        if isinstance(outcome, Unfit):
            assert outcome.field == "effective_at"
            assert ahead < -25 or (ahead < 0 and changes)
            if ahead >= -25:
                with pytest.raises(Difference, match="had cost before it"):
                    deepcopy(plain).happen(RatesSet(now, starts, 0, card), 1)
            continue
        assert isinstance(outcome, tuple)
        assert ahead >= 0 or (not changes and ahead >= -25)
        for event in outcome:
            apply(pool, event)
            plain.happen(event, 1)
        cards.append((starts, max(starts, now), prices))
        for moment, before in table.items():
            assert pool.rates is not None
            version = pool.rates.at(moment)
            after = priced_so(None if version is None else version.card)
            assert after == stands(moment)
            assert moment >= now or after | before == after, "what had a price has another"
        assert decode_pool(encode_pool(pool)).rates == pool.rates


def test_the_first_rates_of_a_metric_price_what_was_used_before_them() -> None:
    """First priced on a second card; and removed, then priced again."""
    pool = Pool()

    def set_card(now: int, since: int | None, **prices: str) -> object:
        card = parse_card([{"metric": metric, "credits": price} for metric, price in prices.items()])
        outcome = decide(pool, SetRates(card, since), now)
        for event in outcome if isinstance(outcome, tuple) else ():
            apply(pool, event)
        return outcome

    def at(moment: int) -> dict[str, str]:
        version = None if pool.rates is None else pool.rates.at(moment)
        return priced_so(None if version is None else version.card)

    assert isinstance(set_card(100, 40, calls="1"), tuple)
    assert (at(39), at(40), at(100)) == ({}, {"calls": "1"}, {"calls": "1"})
    refused = set_card(200, 30, calls="2", images="5")
    assert isinstance(refused, Unfit)
    assert "calls" in refused.expected
    assert isinstance(set_card(200, 30, calls="1", images="5"), tuple)
    assert (at(30), at(150), at(300)) == ({"calls": "1", "images": "5"},) * 3
    assert isinstance(set_card(300, None, calls="1"), tuple)
    # Between 300 and 400 images had no price, before it they had one.
    assert isinstance(set_card(400, 299, calls="1", images="7"), Unfit)
    assert isinstance(set_card(400, 300, calls="1", images="7"), tuple)
    assert [at(moment).get("images") for moment in (299, 300, 400)] == ["5", "7", "7"]
    assert isinstance(set_card(500, 499, images="7"), Unfit), "calls would have no price any more"


def test_verify_finds_a_card_that_changes_what_was_priced() -> None:
    plain = PlainPool()
    plain.happen(Opened(100, 6), 1)
    plain.happen(RatesSet(100, 100, 0, card_of(1)), 1)
    with pytest.raises(Difference, match="changes what calls had cost"):
        plain.happen(RatesSet(200, 199, 0, card_of(2)), 2)
    then = PlainPool()
    then.happen(Opened(100, 6), 1, rules=1)
    with pytest.raises(Difference, match="it prices what was used before it"):
        then.happen(RatesSet(200, 199, 0, card_of(1)), 2, rules=1)
