"""Checks of single fields that several requests share. They convert values from callers to internal form.

Each returns the value that the rules work on, or raises ``InvalidRequest`` naming the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, get_args

import msgspec

from solvent.engine.values.amounts import AmountLike, parse_amount, shown
from solvent.engine.values.dimensions import NO_DIMENSIONS, Dimensions, decode_dimensions, encode_dimensions
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.matching import Match
from solvent.engine.values.pool_id import check_id
from solvent.engine.values.quantities import check_quantity
from solvent.engine.values.terms import PRIORITY_MAX, Category, CostBasis
from solvent.engine.values.times import DAY_US, SECOND_US, parse_time
from solvent.engine.values.windows import check_zone
from solvent.engine.values.words import check_word

from .alerts import RechargeTerms, Threshold
from .recurring import NO_ROLL_OVER

KEY_CHARS_MAX: Final = 256
NAME_CHARS_MAX: Final = 256
COMMENT_CHARS_MAX: Final = 1_024
HOLD_TTL_MAX_US: Final = DAY_US
COST_PLACES_MAX: Final = 12
RECHARGE_TIMEOUT_DEFAULT_S: Final = 86_400
RECHARGE_TIMEOUT_MAX_S: Final = 31 * 86_400
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)

_PERCENT: Final = re.compile(r"([0-9]{1,3})%", re.ASCII)
_RECHARGE_FIELDS: Final = {
    "below", "target", "monthly_max", "time_zone", "grants", "timeout_s", "category", "cost_basis"
}  # fmt: skip
_COST: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)
_MONEY: Final = re.compile(r"[A-Z]{3,8}", re.ASCII)
_NUMBER: Final = re.compile(r"([a-z])([1-9][0-9]{0,17})", re.ASCII)


def check_key(key: object) -> str:
    """Return ``key`` if it is an idempotency key: 1 to 256 printable characters."""
    return check_id(key, "key", chars_max=KEY_CHARS_MAX)


def check_flag(value: object, field: str) -> bool:
    """Return ``value`` if it is a boolean."""
    if type(value) is not bool:
        raise InvalidRequest(field, "true or false", got=shown(value))
    return value


def time_or_none(value: object, field: str) -> int | None:
    """Return a moment in microseconds since 1970; ``None`` if none was given."""
    return None if value is None else parse_time(value, field)


def id_or_none(value: object, field: str) -> str | None:
    """Return an id of 1 to 128 printable characters; ``None`` if none was given."""
    return None if value is None else check_id(value, field)


def quantity_or_none(value: object) -> str | None:
    """Return a metered quantity as canonical decimal text; ``None`` if none was given."""
    return None if value is None else check_quantity(value)


def amount_or_none(value: object, scale: int) -> int | None:
    """Return an amount in units; ``None`` if none was given."""
    return None if value is None else parse_amount(value, scale)


def dimensions_or_empty(value: object, field: str) -> msgspec.Raw:
    """Return dimensions as canonical bytes; an empty map if none were given."""
    return NO_DIMENSIONS if value is None else encode_dimensions(value, field)


def cost_or_none(value: object) -> CostBasis | None:
    """Return a cost basis; ``None`` if none was given."""
    return None if value is None else check_cost_basis(value)


def text_or_none(value: object, field: str, chars_max: int) -> str | None:
    """Return a text of 1 to ``chars_max`` characters; ``None`` if none was given."""
    return None if value is None else check_text(value, field, chars_max)


def parse_entry_id(value: object, field: str, letter: str) -> int:
    """Return the version in an id such as ``g1``. ``letter`` is the letter of its kind."""
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] != letter:
        raise InvalidRequest(field, f'the id of a {field}, such as "{letter}7"', got=shown(value))
    return int(match[2])


def parse_any_entry_id(value: object, field: str) -> int:
    """Return the version in the id of an entry of any kind, such as ``d2``."""
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidRequest(field, 'the id of an entry, such as "d2"', got=shown(value))
    return int(match[2])


def check_whole(value: object, field: str, least: int, most: int) -> int:
    """Return ``value`` if it is a whole number and ``least <= value <= most``."""
    if type(value) is not int or not least <= value <= most:
        raise InvalidRequest(field, f"a whole number from {least} to {most}", got=shown(value))
    return value


def check_priority(value: object) -> int:
    """Return ``value`` if it is a priority, 0 to 100."""
    return check_whole(value, "priority", 0, PRIORITY_MAX)


def check_match(match: Dimensions | None) -> Match:
    """Return the dimensions that a budget or an allowance matches, sorted by name."""
    return () if match is None else tuple(sorted(decode_dimensions(encode_dimensions(match, "match")).items()))


def check_roll_over(value: AmountLike, scale: int) -> int | None:
    """Return the most that may roll over, in units; ``None`` where all of it may."""
    if value == "none":
        return NO_ROLL_OVER
    if value == "all":
        return None
    try:
        return parse_amount(value, scale, "roll_over")
    except InvalidRequest:
        raise InvalidRequest("roll_over", '"none", "all", or an amount above zero', got=shown(value)) from None


def check_threshold(value: AmountLike, scale: int) -> Threshold:
    """Return a threshold: an amount, or a percentage such as "20%"."""
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return Threshold(0, check_whole(int(match[1]), "low", 1, 100))
    return Threshold(parse_amount(value, scale, "low"))


def check_recharge(rule: object, scale: int) -> RechargeTerms:
    """Return the terms of a recharge rule, which is an object."""
    if not isinstance(rule, Mapping) or not {"below", "target"} <= set(rule) <= _RECHARGE_FIELDS:
        wanted = ", ".join(sorted(_RECHARGE_FIELDS - {"below", "target"}))
        raise InvalidRequest("recharge", f"an object with below and target, and perhaps {wanted}")
    below = parse_amount(rule["below"], scale, "recharge.below")
    target = parse_amount(rule["target"], scale, "recharge.target")
    if target < below:
        raise InvalidRequest("recharge.target", "at least recharge.below")
    monthly_max, cost_basis = rule.get("monthly_max"), rule.get("cost_basis")
    grants = rule.get("grants", False)
    if type(grants) is not bool:
        raise InvalidRequest("recharge.grants", "true or false", got=shown(grants))
    timeout_s = rule.get("timeout_s", RECHARGE_TIMEOUT_DEFAULT_S)
    return RechargeTerms(
        below,
        target,
        None if monthly_max is None else parse_amount(monthly_max, scale, "recharge.monthly_max"),
        check_zone(rule.get("time_zone", "UTC"), "recharge.time_zone"),
        grants,
        check_whole(timeout_s, "recharge.timeout_s", 60, RECHARGE_TIMEOUT_MAX_S) * SECOND_US,
        check_word(rule.get("category", "paid"), "category", CATEGORIES),
        None if cost_basis is None else check_cost_basis(cost_basis),
    )


def check_ttl(value: object) -> int:
    """Return the time to live of a hold in microseconds, from 1 second to a day."""
    seconds: Decimal | None = None
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        seconds = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    if seconds is None or not seconds.is_finite() or not 1 <= seconds <= HOLD_TTL_MAX_US // SECOND_US:
        longest = HOLD_TTL_MAX_US // SECOND_US
        raise InvalidRequest("ttl_s", f"a number of seconds from 1 to {longest}", got=shown(value))
    return int(seconds * SECOND_US)


def check_cost_basis(cost: object) -> CostBasis:
    """Return what one credit cost, given as a ``CostBasis``, a pair or an object."""
    if isinstance(cost, CostBasis):
        per_credit, currency = cost.per_credit, cost.currency
    elif isinstance(cost, Mapping) and set(cost) == {"per_credit", "currency"}:
        per_credit, currency = cost["per_credit"], cost["currency"]
    elif isinstance(cost, (tuple, list)) and len(cost) == 2:
        per_credit, currency = cost
    else:
        raise InvalidRequest("cost_basis", 'a price per credit and a currency, such as ("0.0125", "USD")')
    if not isinstance(per_credit, str) or not _COST.fullmatch(per_credit):
        raise InvalidRequest(
            "cost_basis.per_credit",
            f"decimal text with at most {COST_PLACES_MAX} places",
            got=shown(per_credit),
        )
    if not isinstance(currency, str) or not _MONEY.fullmatch(currency):
        raise InvalidRequest("cost_basis.currency", "a code of 3 to 8 capital letters", got=shown(currency))
    return CostBasis(per_credit, currency)


def check_text(value: object, field: str, chars_max: int) -> str:
    """Return ``value`` if it is a text of 1 to ``chars_max`` characters."""
    if isinstance(value, str) and 0 < len(value) <= chars_max:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(field, "text without lone surrogates") from None
        return value
    raise InvalidRequest(field, f"a text of 1 to {chars_max} characters")
