"""The name of a pool: its environment, customer, optional resource and currency, and its written forms.

The short form leaves out defaults: ``acme``, ``acme/website-1``, ``acme:tokens``, ``staging@acme``. The canonical form
has all parts, ``default@acme/website-1:credits``; the journal, the indexes and the actors use it. In both, ``/ : @ %``
and white space inside an id are percent-encoded.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import unquote

import msgspec

from .errors import InvalidRequest

ENVIRONMENT_DEFAULT: Final = "default"
CURRENCY_DEFAULT: Final = "credits"
ID_CHARS_MAX: Final = 128

_RESERVED: Final = re.compile(r"[/:@%\s]")
_RATES: Final = "%rates@"
_OUTBOX: Final = "%outbox@"
"""The canonical form of a pool never begins like this: its percent signs are followed by two hexadecimal digits."""
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_WRITTEN_CHARS_MAX: Final = 4 * 4 * 3 * (ID_CHARS_MAX + 1)
"""The most characters of a written pool: four ids, each character at most four bytes, written as three characters."""

PARSED_POOLS_MAX: Final = 32_768
"""The most parsed names that are cached. A miss costs a few microseconds, an entry about 600 bytes."""


class PoolId(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The name of a pool. Make one with ``parse_pool`` or ``pool_id``: they check the ids."""

    environment: str
    customer: str
    resource: str | None
    currency: str
    canonical: str
    """The full written form, which is unique to the pool."""

    def __str__(self) -> str:
        environment = "" if self.environment == ENVIRONMENT_DEFAULT else f"{_encode(self.environment)}@"
        resource = "" if self.resource is None else f"/{_encode(self.resource)}"
        currency = "" if self.currency == CURRENCY_DEFAULT else f":{_encode(self.currency)}"
        return f"{environment}{_encode(self.customer)}{resource}{currency}"

    def __repr__(self) -> str:
        return f"PoolId({self.canonical if is_stream(self.canonical) else str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PoolId) and other.canonical == self.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)


PoolLike: TypeAlias = str | PoolId
"""The types in which callers name a pool: its written form, or a ``PoolId``."""


def check_id(value: object, field: str, *, chars_max: int = ID_CHARS_MAX) -> str:
    """Return ``value`` if it is an id: 1 to ``chars_max`` printable characters. Raises ``InvalidRequest``."""
    if type(value) is str and 0 < len(value) <= chars_max and value.isprintable():
        return value
    if not isinstance(value, str):
        raise InvalidRequest(field, "a string", got=type(value).__name__)
    if not 0 < len(value) <= chars_max:
        raise InvalidRequest(field, f"1 to {chars_max} characters", got=f"{len(value)}")
    raise InvalidRequest(field, "printable characters only", got=ascii(value)[:60])


@lru_cache(maxsize=PARSED_POOLS_MAX)
def pool_id(
    environment: str = ENVIRONMENT_DEFAULT,
    customer: str = "",
    resource: str | None = None,
    currency: str = CURRENCY_DEFAULT,
) -> PoolId:
    """Return the pool with these parts. Raises ``InvalidRequest`` naming the part that is not an id."""
    check_id(environment, "environment")
    check_id(customer, "customer")
    check_id(currency, "currency")
    if resource is not None:
        check_id(resource, "resource")
    middle = _encode(customer) if resource is None else f"{_encode(customer)}/{_encode(resource)}"
    canonical = f"{_encode(environment)}@{middle}:{_encode(currency)}"
    return PoolId(environment, customer, resource, currency, canonical)


@lru_cache(maxsize=PARSED_POOLS_MAX)
def _parse(written: str) -> PoolId:
    if len(written) > _WRITTEN_CHARS_MAX:
        raise InvalidRequest("pool", f"ids of at most {ID_CHARS_MAX} characters", got=f"{len(written)} characters")
    if _BAD_ESCAPE.search(written):
        raise InvalidRequest("pool", "percent-encoding with two hexadecimal digits", got=repr(written)[:60])
    environment, at, rest = written.rpartition("@")
    rest, colon, currency = rest.partition(":")
    customer, slash, resource = rest.partition("/")
    if "@" in environment or ":" in currency or ":" in environment or "/" in environment:
        raise InvalidRequest("pool", "environment@customer/resource:currency", got=repr(written)[:60])
    if "/" in resource or "/" in currency:
        raise InvalidRequest("pool", 'at most one "/": write "%2F" inside an id', got=repr(written)[:60])
    return pool_id(
        _decode(environment) if at else ENVIRONMENT_DEFAULT,
        _decode(customer),
        _decode(resource) if slash else None,
        _decode(currency) if colon else CURRENCY_DEFAULT,
    )


def parse_pool(pool: object) -> PoolId:
    """Return the pool that ``pool`` names, as text or already parsed. Raises ``InvalidRequest`` (field ``pool``,
    or the part that is not an id)."""
    if type(pool) is str:
        return _parse(pool)
    if isinstance(pool, PoolId):
        return pool
    raise InvalidRequest("pool", 'text such as "customer/resource"', got=type(pool).__name__)


def rates_stream(environment: str, currency: str) -> PoolId:
    """Return the stream that has the rate cards of a currency. It is journalled like a pool, but callers cannot name
    it."""
    check_id(environment, "environment")
    check_id(currency, "currency")
    canonical = f"{_RATES}{_encode(environment)}:{_encode(currency)}"
    return PoolId(environment, "-", None, currency, canonical)


def outbox_stream(publisher: str) -> PoolId:
    """Return the stream that records up to which frame ``publisher`` has published events. Callers cannot name it."""
    return PoolId(check_id(publisher, "publisher"), "-", None, CURRENCY_DEFAULT, f"{_OUTBOX}{_encode(publisher)}")


def is_stream(canonical: str) -> bool:
    """Return whether ``canonical`` is the canonical form of a stream that is not a pool."""
    return canonical.startswith("%")


def parse_canonical(canonical: str) -> PoolId:
    """Return the pool or stream with this canonical form."""
    if canonical.startswith(_RATES):
        environment, _, currency = canonical.removeprefix(_RATES).partition(":")
        return rates_stream(_decode(environment), _decode(currency))
    if canonical.startswith(_OUTBOX):
        return outbox_stream(_decode(canonical.removeprefix(_OUTBOX)))
    return parse_pool(canonical)


def currency_of(canonical: str) -> str:
    """Return the currency of the pool with this canonical form, without parsing its other parts."""
    return _decode(canonical.rpartition(":")[2])


def customer_prefixes(environment: str, customer: str) -> tuple[str, str]:
    """Return the prefixes of the canonical forms of a customer's pools: with a resource, and without."""
    start = f"{_encode(environment)}@{_encode(customer)}"
    return f"{start}/", f"{start}:"


def environment_prefix(environment: str) -> str:
    """Return the prefix of the canonical forms of an environment's pools."""
    return f"{_encode(environment)}@"


def _encode(part: str) -> str:
    return _RESERVED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), part)


def _decode(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRequest("pool", "percent-encoded UTF-8", got=repr(part)[:60]) from None
