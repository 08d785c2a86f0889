"""What may be asked of a pool, checked and in inner form.

The ``*_command`` functions are the one gate for everything that comes from outside, embedded or over a wire: what
they return is valid, what is not raises ``InvalidRequest`` naming the field. Amounts become units, times become
microseconds, dimensions become canonical bytes, so that the pool compares requests byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from .amounts import AmountLike, parse_amount, shown
from .errors import InvalidRequest
from .pool_id import check_id
from .times import TimeLike, parse_time

Category: TypeAlias = Literal["paid", "promotional"]
DimensionValue: TypeAlias = str | int | float | bool
Dimensions: TypeAlias = Mapping[str, DimensionValue]

KEY_CHARS_MAX: Final = 256
DIMENSIONS_MAX: Final = 64
DIMENSION_NAME_CHARS_MAX: Final = 128
DIMENSION_VALUE_CHARS_MAX: Final = 1_024
DIMENSIONS_BYTES_MAX: Final = 8_192
"""Dimensions of one event, encoded. A frame holds hundreds of events: this bounds it."""
NAME_CHARS_MAX: Final = 256
COMMENT_CHARS_MAX: Final = 1_024
PRIORITY_MAX: Final = 100
PRIORITY_DEFAULT: Final = 50
COST_PLACES_MAX: Final = 12

_QUANTITY_END: Final = 10**18
_QUANTITY: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?", re.ASCII)
_COST: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)
_MONEY: Final = re.compile(r"[A-Z]{3,8}", re.ASCII)
_NO_DIMENSIONS: Final = msgspec.Raw(b"\x80")

_FLOAT_MAX: Final = 1.7976931348623157e308
_DimensionMap: TypeAlias = dict[
    Annotated[str, msgspec.Meta(min_length=1, max_length=DIMENSION_NAME_CHARS_MAX)],
    Annotated[str, msgspec.Meta(max_length=DIMENSION_VALUE_CHARS_MAX)]
    | int
    | Annotated[float, msgspec.Meta(ge=-_FLOAT_MAX, le=_FLOAT_MAX)]
    | bool,
]
_checked: Final = msgspec.msgpack.Decoder(_DimensionMap)
_canonical: Final = msgspec.msgpack.Encoder(order="deterministic")


class CostBasis(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one credit of a grant cost: decimal text and the code of a currency, e.g. ``("0.0125", "USD")``."""

    per_credit: str
    currency: str


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Put a block of credits into the pool. ``None`` for a time means: now, or never."""

    key: str
    amount: int
    category: Category = "paid"
    priority: int = PRIORITY_DEFAULT
    effective_at: int | None = None
    expires_at: int | None = None
    cost_basis: CostBasis | None = None
    name: str | None = None
    comment: str | None = None
    metadata: msgspec.Raw = _NO_DIMENSIONS


class Debit(msgspec.Struct, frozen=True, gc=False):
    """Consume credits for a usage event; with ``partial``, as much as is available, at least one unit."""

    key: str
    amount: int
    partial: bool = False
    occurred_at: int | None = None
    metric: str | None = None
    quantity: str | None = None
    dimensions: msgspec.Raw = _NO_DIMENSIONS
    backfill: bool = False
    """Lifts the limit on how far back ``occurred_at`` may lie, for old traces. Not part of what is recorded."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """Ask for the pool as it is, after everything that was acknowledged before."""

    what: Literal["balance", "grants", "head"] = "balance"


Command: TypeAlias = Grant | Debit


def grant_command(
    *,
    scale: int,
    amount: AmountLike,
    key: str,
    category: str = "paid",
    priority: int = PRIORITY_DEFAULT,
    effective_at: TimeLike | None = None,
    expires_at: TimeLike | None = None,
    cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
    name: str | None = None,
    comment: str | None = None,
    metadata: Dimensions | None = None,
) -> Grant:
    """Check the parts of a grant. Raises ``InvalidRequest`` naming the first that is wrong."""
    if type(priority) is not int or not 0 <= priority <= PRIORITY_MAX:
        raise InvalidRequest("priority", f"a whole number from 0 to {PRIORITY_MAX}", got=shown(priority))
    starts = None if effective_at is None else parse_time(effective_at, "effective_at")
    ends = None if expires_at is None else parse_time(expires_at, "expires_at")
    if starts is not None and ends is not None and ends <= starts:
        raise InvalidRequest("expires_at", "a time after effective_at")
    return Grant(
        key=check_id(key, "key", chars_max=KEY_CHARS_MAX),
        amount=parse_amount(amount, scale),
        category=_check_category(category),
        priority=priority,
        effective_at=starts,
        expires_at=ends,
        cost_basis=None if cost_basis is None else _check_cost_basis(cost_basis),
        name=None if name is None else check_id(name, "name", chars_max=NAME_CHARS_MAX),
        comment=None if comment is None else _check_text(comment, "comment", COMMENT_CHARS_MAX),
        metadata=_NO_DIMENSIONS if metadata is None else encode_dimensions(metadata, "metadata"),
    )


def debit_command(
    *,
    scale: int,
    amount: AmountLike,
    key: str,
    partial: bool = False,
    occurred_at: TimeLike | None = None,
    metric: str | None = None,
    quantity: AmountLike | None = None,
    dimensions: Dimensions | None = None,
    backfill: bool = False,
) -> Debit:
    """Check the parts of a debit. Raises ``InvalidRequest`` naming the first that is wrong.

    Whether ``occurred_at`` is near enough to now is judged by the pool, on its own clock.
    """
    if type(partial) is not bool:
        raise InvalidRequest("partial", "true or false", got=shown(partial))
    if type(backfill) is not bool:
        raise InvalidRequest("backfill", "true or false", got=shown(backfill))
    # Positional, in the order of the fields: this is the hot path.
    return Debit(
        check_id(key, "key", chars_max=KEY_CHARS_MAX),
        parse_amount(amount, scale),
        partial,
        None if occurred_at is None else parse_time(occurred_at, "occurred_at"),
        None if metric is None else check_id(metric, "metric"),
        None if quantity is None else check_quantity(quantity),
        _NO_DIMENSIONS if dimensions is None else encode_dimensions(dimensions, "dimensions"),
        backfill,
    )


def encode_dimensions(dimensions: object, field: str) -> msgspec.Raw:
    """Return dimensions as canonical msgpack: names sorted, so that equal dimensions are equal bytes.

    Names have 1 to 128 characters; values are strings of at most 1,024 characters, 64-bit integers, finite floats
    or booleans; at most 64 of them, at most 8 KiB together. Raises ``InvalidRequest`` otherwise.
    """
    if type(dimensions) is not dict:
        if not isinstance(dimensions, Mapping):
            raise InvalidRequest(field, "an object of names and values", got=type(dimensions).__name__)
        dimensions = dict(dimensions)
    if len(dimensions) > DIMENSIONS_MAX:
        raise InvalidRequest(field, f"at most {DIMENSIONS_MAX} names", got=str(len(dimensions)))
    encoded = _encode_checked(dimensions)
    if encoded is None:
        raise InvalidRequest(*_explain_dimension(dimensions, field))
    if len(encoded) > DIMENSIONS_BYTES_MAX:
        raise InvalidRequest(field, f"at most {DIMENSIONS_BYTES_MAX} bytes", got=str(len(encoded)))
    return msgspec.Raw(encoded)


def _encode_checked(dimensions: Mapping[object, object]) -> bytes | None:
    """The canonical bytes, or ``None`` if any name or value may not be one.

    Encoding and decoding in C is the fastest check there is. What does not come back as it went is refused too:
    a NaN, and values such as decimals, which would be turned into text.
    """
    try:
        encoded = _canonical.encode(dimensions)
        if _checked.decode(encoded) == dimensions:
            return encoded
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError, TypeError, RecursionError):
        pass
    return None


def _explain_dimension(dimensions: Mapping[object, object], field: str) -> tuple[str, str]:
    for name, value in dimensions.items():
        if _encode_checked({name: value}) is None:
            if not isinstance(name, str) or not 0 < len(name) <= DIMENSION_NAME_CHARS_MAX:
                break
            return f"{field}.{ascii(name)[1:-1][:60]}", (
                f"a string of at most {DIMENSION_VALUE_CHARS_MAX} characters, a finite 64-bit number or a boolean"
            )
    return field, f"names of 1 to {DIMENSION_NAME_CHARS_MAX} characters"


def decode_dimensions(encoded: msgspec.Raw) -> dict[str, DimensionValue]:
    """The dimensions that ``encode_dimensions`` made bytes of."""
    return msgspec.msgpack.decode(encoded, type=dict[str, str | int | float | bool])


def check_quantity(quantity: object, field: str = "quantity") -> str:
    """Return a metered quantity as canonical decimal text: at least 0, at most 18 digits before the point and 9
    after it."""
    text = ""
    if isinstance(quantity, str):
        text = quantity
    elif isinstance(quantity, int) and not isinstance(quantity, bool) and 0 <= quantity < _QUANTITY_END:
        text = str(quantity)
    elif isinstance(quantity, Decimal) and quantity.is_finite() and -10 < quantity.adjusted() < 18:
        # Only now: an exponent such as that of 1e999999999 would be written out zero by zero.
        text = format(quantity, "f")
    if not _QUANTITY.fullmatch(text):
        raise InvalidRequest(field, "a decimal number of at most 18 digits and 9 decimal places", got=shown(quantity))
    whole, _, places = text.partition(".")
    places = places.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{places}" if places else whole


def _check_category(value: object) -> Category:
    match value:
        case "paid":
            return "paid"
        case "promotional":
            return "promotional"
    raise InvalidRequest("category", '"paid" or "promotional"', got=shown(value))


def _check_cost_basis(cost: object) -> CostBasis:
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


def _check_text(value: object, field: str, chars_max: int) -> str:
    if isinstance(value, str) and 0 < len(value) <= chars_max:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(field, "text without lone surrogates") from None
        return value
    raise InvalidRequest(field, f"a text of 1 to {chars_max} characters")
