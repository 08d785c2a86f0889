"""Rate cards: what a metered quantity costs in credits, by metric and dimensions.

A card is a set of rates such as "30 credits per 1,000,000 input_tokens where model is gpt-4". The most specific rate
that matches prices an event: the one that asks for the most dimensions. ``parse_card`` refuses every card in which two
rates could match one event equally well, so the rate that it finds never depends on the order of a card.

Numbers are decimal text outside and integers inside. A price is an exact fraction, rounded once, half-even, to whole
units of the currency, without binary floats. Nothing here reads a clock, touches a file or awaits.

Values of dimensions are compared as everywhere: ``1`` and ``1.0`` are one value, ``True`` and ``"1"`` are others. If a
card of an older version has a rate for ``1`` and one for ``1.0``, that for ``1`` counts.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from math import isfinite
from typing import Final, TypeAlias, cast

import msgspec

from solvent.engine.values.amounts import UNITS_MAX, AmountLike, format_amount, parse_scale, shown
from solvent.engine.values.dimensions import (
    DIMENSION_NAME_CHARS_MAX,
    DIMENSIONS_MAX,
    Dimensions,
    DimensionValue,
    decode_dimensions,
    encode_dimensions,
)
from solvent.engine.values.errors import InvalidRequest, NotFound
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, check_id
from solvent.engine.values.quantities import QUANTITY_PLACES, check_quantity

RATES_MAX: Final = 1_000
"""The most rates of one card. A card is journalled whole, and people who set prices must be able to read it."""
CREDITS_PLACES_MAX: Final = 12

_CREDITS: Final = re.compile(rf"[0-9]{{1,18}}(\.[0-9]{{1,{CREDITS_PLACES_MAX}}})?", re.ASCII)
_FIELDS: Final = ("metric", "match", "credits", "per")
_NAMES_SHOWN_CHARS_MAX: Final = 120

_Typed: TypeAlias = str | int | float | tuple[bool]
"""A value that is equal only to the same values: text and numbers as they are, a boolean in a tuple."""
_Price: TypeAlias = tuple["Rate", int, int]
"""A rate, and the numerator and denominator of its price: quantity in 10^-9 times the fraction is credits."""
_Group: TypeAlias = tuple[tuple[str, ...], dict[tuple[_Typed | None, ...], _Price]]
"""The rates of one metric that ask for the same names, by the values they ask for."""


class Rate(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """``credits`` per ``per`` of ``metric``, for events whose dimensions have at least the values of ``match``.

    On a card ``match`` is sorted by name, and the numbers are decimal text without superfluous zeros.
    """

    metric: str
    match: tuple[tuple[str, DimensionValue], ...]
    credits: str
    per: str = "1"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        # The tuples themselves would make rates for 1 and True equal.
        return self.metric, tuple((name, _typed(name, value)) for name, value in self.match), self.credits, self.per


class RateCard(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """The rates of one currency, in canonical order: equal cards encode equally. Make one with ``parse_card``."""

    currency: str
    rates: tuple[Rate, ...]

    def find(self, metric: str, dimensions: Dimensions) -> Rate | None:
        """Return the most specific rate that matches; ``None`` if none does.

        Raises ``InvalidRequest`` naming a dimension whose value is invalid.
        """
        price = self._find(metric, dimensions)
        return None if price is None else price[0]

    def _find(self, metric: str, dimensions: Dimensions) -> _Price | None:
        indexed = self._index.get(metric)
        if indexed is None:
            return None
        names_used, groups = indexed
        values = {name: _typed(name, value) for name, value in dimensions.items() if name in names_used}
        for names, prices in groups:
            # A missing name becomes None, which no rate matches.
            if len(names) <= len(values) and (price := prices.get(tuple([values.get(name) for name in names]))):
                return price
        return None

    @cached_property
    def _index(self) -> dict[str, tuple[frozenset[str], tuple[_Group, ...]]]:
        """The rates by metric: the names that any rate matches on, and the groups, those with the most names first.

        Many rates match on few different sets of names, so a search costs one lookup in each group.
        """
        metrics: dict[str, dict[tuple[str, ...], dict[tuple[_Typed | None, ...], _Price]]] = {}
        for rate in self.rates:
            names = tuple(name for name, _ in rate.match)
            values = tuple(_typed(name, value) for name, value in rate.match)
            numerator = _scaled(rate.credits, CREDITS_PLACES_MAX)
            denominator = _scaled(rate.per, QUANTITY_PLACES) * 10**CREDITS_PLACES_MAX
            groups = metrics.setdefault(rate.metric, {})
            groups.setdefault(names, {})[values] = (rate, numerator, denominator)
        return {
            metric: (
                frozenset(name for names in groups for name in names),
                tuple(sorted(groups.items(), key=lambda group: len(group[0]), reverse=True)),
            )
            for metric, groups in metrics.items()
        }


class Priced(msgspec.Struct, frozen=True):
    """The price of an event, in units of the card's currency, and its rate. The price may be 0."""

    units: int
    rate: Rate


class CardVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version of a card, and the time from which it prices events."""

    number: int
    effective_at_us: int
    card: RateCard
    dated_back_at_us: int = 0
    """When a card was set that is in effect from an earlier time on; 0 for one that was set for then or later."""

    @property
    def rank(self) -> tuple[int, int]:
        """Of the versions that are in effect at a moment, the one with the highest rank prices. A card that is dated
        back replaces what was in effect when it was set, and not what was to take effect later."""
        return max(self.effective_at_us, self.dated_back_at_us), self.number


class RateBook(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """All versions of a card, in the order in which they were set. They are numbered from 1, without gaps."""

    versions: tuple[CardVersion, ...] = ()

    def at(self, us: int) -> CardVersion | None:
        """Return the version that prices events at ``us``: of those in effect the one that took effect last, and of
        several that took effect in one microsecond the one that was set last. A card that was dated back took effect
        when it was set, also for what was before."""
        moments, versions = self._timeline
        place = bisect_right(moments, us)
        return versions[place - 1] if place else None

    def with_version(self, card: RateCard, *, effective_at_us: int, now_us: int) -> RateBook:
        """Return the book with one more version. It may be dated back if it reprices nothing (``repriced``)."""
        dated_back_at = now_us if effective_at_us < now_us else 0
        version = CardVersion(len(self.versions) + 1, effective_at_us, card, dated_back_at)
        return RateBook((*self.versions, version))

    def repriced(self, card: RateCard, *, since_us: int, now_us: int) -> str | None:
        """Return a metric that had a price between ``since_us`` and ``now_us``, and gets another from ``card``.

        ``None``: each metric that had rates in that time has the same on ``card``. A metric that had none may have any.
        """
        moments, versions = self._timeline
        place = max(0, bisect_right(moments, since_us) - 1)
        rates = _by_metric(card)
        ends = (*moments[1:], now_us)
        for began, end, version in zip(moments[place:], ends[place:], versions[place:], strict=False):
            if began >= now_us:
                break
            if began == end or end <= since_us:
                continue
            for metric, stood in _by_metric(version.card).items():
                if rates.get(metric) != stood:
                    return metric
        return None

    @cached_property
    def _timeline(self) -> tuple[tuple[int, ...], tuple[CardVersion, ...]]:
        """The moments at which versions take effect, in order, and the version that prices from each of them on."""
        moments: list[int] = []
        versions: list[CardVersion] = []
        for version in sorted(self.versions, key=lambda version: (version.effective_at_us, version.rank)):
            rules = max(versions[-1], version, key=lambda each: each.rank) if versions else version
            moments.append(version.effective_at_us)
            versions.append(rules)
        return tuple(moments), tuple(versions)


def _by_metric(card: RateCard) -> dict[str, list[Rate]]:
    found: dict[str, list[Rate]] = {}
    for rate in sorted(card.rates, key=_canonical_place):
        found.setdefault(rate.metric, []).append(rate)
    return found


def price(card: RateCard, metric: str, quantity: AmountLike, dimensions: Dimensions | None, scale: int) -> Priced:
    """Return what ``quantity`` of ``metric`` costs: exact, then rounded once, half-even, to units of 10^-scale.

    Raises ``NotFound`` when no rate matches, and ``InvalidRequest`` naming the field: for a quantity that
    ``check_quantity`` refuses, for one whose price exceeds 63 bits, or for an invalid dimension. Other limits of
    dimensions are checked where the event is recorded.
    """
    check_id(metric, "metric")
    measured = _scaled(check_quantity(_number(quantity, "quantity"), "quantity"), QUANTITY_PLACES)
    if dimensions is None:
        dimensions = {}
    elif not isinstance(dimensions, Mapping):
        raise InvalidRequest("dimensions", "an object of names and values", got=type(dimensions).__name__)
    found = card._find(metric, dimensions)
    if found is None:
        raise NotFound("rate", metric)
    rate, numerator, denominator = found
    units = _divide_half_even(measured * numerator * 10 ** parse_scale(scale), denominator)
    if units > UNITS_MAX:
        largest = format_amount(UNITS_MAX, scale)
        raise InvalidRequest("quantity", f"a quantity that costs at most {largest} credits", got=shown(quantity))
    return Priced(units, rate)


def parse_card(rates: object, *, currency: object = CURRENCY_DEFAULT) -> RateCard:
    """Return the card of these rates, given as ``Rate`` or as plain data such as JSON holds::

        [{"metric": "input_tokens", "match": {"model": "gpt-4"}, "credits": "30", "per": 1000000}]

    ``match`` (default: empty, every event of the metric) is an object or a list of pairs, ``credits`` and ``per``
    (default: 1) are decimal text, integers or ``Decimal``. Raises ``InvalidRequest`` naming the place, such as
    ``rates[2].match.model``.
    """
    checked_currency = check_id(currency, "currency")
    if not isinstance(rates, (list, tuple)):
        raise InvalidRequest("rates", "a list of rates", got=type(rates).__name__)
    if len(rates) > RATES_MAX:
        raise InvalidRequest("rates", f"at most {RATES_MAX} rates", got=str(len(rates)))
    checked = [_check_rate(rate, f"rates[{place}]") for place, rate in enumerate(rates)]
    _refuse_ties(checked)
    return RateCard(checked_currency, tuple(sorted(checked, key=_canonical_place)))


def _check_rate(rate: object, at: str) -> Rate:
    fields: dict[object, object]
    if isinstance(rate, Rate):
        fields = {name: getattr(rate, name) for name in _FIELDS}
    elif isinstance(rate, Mapping):
        fields = dict(rate)
    else:
        raise InvalidRequest(at, f"an object of {', '.join(_FIELDS)}", got=type(rate).__name__)
    for name in fields:
        if name not in _FIELDS:
            place = f"{at}.{_named(name)}" if isinstance(name, str) else at
            raise InvalidRequest(place, f"only the fields {', '.join(_FIELDS)}")
    for name in ("metric", "credits"):
        if name not in fields:
            raise InvalidRequest(f"{at}.{name}", "a value", got="none")
    per = check_quantity(_number(fields.get("per", "1"), f"{at}.per"), f"{at}.per")
    if per == "0":
        raise InvalidRequest(f"{at}.per", "a quantity above zero", got="0")
    return Rate(
        metric=check_id(fields["metric"], f"{at}.metric"),
        match=_check_match(fields.get("match", ()), f"{at}.match"),
        credits=_check_credits(_number(fields["credits"], f"{at}.credits"), f"{at}.credits"),
        per=per,
    )


def _check_match(match: object, at: str) -> tuple[tuple[str, DimensionValue], ...]:
    if isinstance(match, (list, tuple)):
        match = _check_pairs(match, at)
    elif not isinstance(match, Mapping):
        raise InvalidRequest(at, "an object of names and values", got=type(match).__name__)
    # A rate may match only what an event may have, so the same check applies to both. Equal cards encode equally.
    return tuple(sorted(decode_dimensions(encode_dimensions(match, at)).items()))


def _check_pairs(pairs: Sequence[object], at: str) -> dict[str, object]:
    if len(pairs) > DIMENSIONS_MAX:
        raise InvalidRequest(at, f"at most {DIMENSIONS_MAX} names", got=str(len(pairs)))
    match: dict[str, object] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise InvalidRequest(at, "an object of names and values, or a list of pairs")
        name, value = pair
        if not isinstance(name, str):
            raise InvalidRequest(at, f"names of 1 to {DIMENSION_NAME_CHARS_MAX} characters")
        if name in match:
            raise InvalidRequest(f"{at}.{_named(name)}", "each name once")
        match[name] = value
    return match


def _number(value: object, field: str) -> str | int | Decimal:
    """Return ``value`` if its type has exact numbers. The error does not quote other values: they may be nested deeper
    than Python can write out."""
    if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
        return value
    got = "a binary float" if isinstance(value, float) else type(value).__name__
    raise InvalidRequest(field, 'an integer or a decimal string such as "12.5"', got=got)


def _check_credits(credits: str | int | Decimal, field: str) -> str:
    """Return ``credits`` as canonical decimal text: at least 0, at most 18 digits and 12 places."""
    text = ""
    if isinstance(credits, str):
        text = credits
    elif isinstance(credits, int):
        text = str(credits) if 0 <= credits < 10**18 else ""
    elif credits.is_finite() and -CREDITS_PLACES_MAX <= credits.adjusted() < 18:
        # Format only after the check: 1e999999999 would be written out with all its zeros.
        text = format(credits, "f")
    if not _CREDITS.fullmatch(text):
        raise InvalidRequest(
            field,
            f"a decimal number of at most 18 digits and {CREDITS_PLACES_MAX} decimal places, at least 0",
            got=shown(credits),
        )
    whole, _, places = text.partition(".")
    places = places.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{places}" if places else whole


def _refuse_ties(rates: Sequence[Rate]) -> None:
    """Raise ``InvalidRequest`` for the first two rates that one event could match equally well.

    Two rates with equally many names can both match an event unless they need different values of some name. It is not
    a tie if a third rate needs exactly what both need: it is more specific, and matches every such event.
    """
    asked = [frozenset((name, _typed(name, value)) for name, value in rate.match) for rate in rates]
    places: dict[tuple[str, frozenset[tuple[str, _Typed]]], int] = {}
    for place, rate in enumerate(rates):
        earlier = places.setdefault((rate.metric, asked[place]), place)
        if earlier != place:
            raise InvalidRequest(f"rates[{place}].match", f"another metric or match than that of rates[{earlier}]")

    # One bit per rate, by metric and number of names: 64 conjunctions find all the rivals of a rate. Comparing every
    # rate with every other, name by name, would take seconds for a malicious card.
    peers: dict[tuple[str, int], list[int]] = {}
    for place, rate in enumerate(rates):
        peers.setdefault((rate.metric, len(rate.match)), []).append(place)
    for (metric, _), peer in peers.items():
        asks_name: dict[str, int] = {}
        asks_value: dict[tuple[str, _Typed], int] = {}
        for bit, place in enumerate(peer):
            for item in asked[place]:
                asks_name[item[0]] = asks_name.get(item[0], 0) | 1 << bit
                asks_value[item] = asks_value.get(item, 0) | 1 << bit
        for bit, place in enumerate(peer):
            rivals = (1 << len(peer)) - (2 << bit)
            for item in asked[place]:
                rivals &= ~asks_name[item[0]] | asks_value[item]
            while rivals:
                lowest = rivals & -rivals
                rivals ^= lowest
                rival = peer[lowest.bit_length() - 1]
                both = asked[place] | asked[rival]
                if (metric, both) not in places:
                    names = ", ".join(_named(name) for name, _ in sorted(both, key=lambda item: item[0]))
                    if len(names) > _NAMES_SHOWN_CHARS_MAX:
                        names = f"{names[: _NAMES_SHOWN_CHARS_MAX - 3]}..."
                    raise InvalidRequest(
                        f"rates[{rival}].match",
                        f"no tie with rates[{place}], as one event can match both: "
                        f"ask for a different value of one name, or add a rate for both together ({names})",
                    )


def _canonical_place(rate: Rate) -> tuple[object, ...]:
    return rate.metric, tuple((name, type(value).__name__, value) for name, value in rate.match)


def _typed(name: str, value: object) -> _Typed:
    kind = type(value)
    if kind is str or kind is int or (kind is float and isfinite(cast("float", value))):
        return cast("str | int | float", value)
    if isinstance(value, bool):
        return (value,)
    # A member of an enumeration counts as its value, as it does when it is recorded. The rest is refused.
    return _typed(name, decode_dimensions(encode_dimensions({name: value}, "dimensions"))[name])


def _scaled(number: str, places: int) -> int:
    """Return canonical decimal text as whole units of 10^-places."""
    whole, _, fraction = number.partition(".")
    return int(whole + fraction.ljust(places, "0"))


def _divide_half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    over_half = 2 * rest - denominator
    return quotient + (over_half > 0 or (over_half == 0 and quotient % 2 == 1))


def _named(name: str) -> str:
    """Return the name of a dimension or a field as errors show it: at most 60 printable characters."""
    return ascii(name[:60])[1:-1][:60]
