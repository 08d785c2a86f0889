"""The bodies of requests, for any transport. A body is its request in JSON: the same fields, made from the same struct.

Only the target is named differently. The address of the transport (a subject, a path) names environment and customer;
the body names the rest, and may repeat those two but not change them. Unknown fields are refused, amounts are integers
or decimal strings, and a body that cannot be decoded is an ``InvalidRequest`` like any bad input.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import msgspec
from msgspec import NODEFAULT, UNSET

from solvent.engine.api.requests import (
    CommandRequest,
    CustomerRequest,
    DebitRequest,
    PastEventsRequest,
    PoolRequest,
    RatesRequest,
    Request,
    ServiceRequest,
    SetRatesRequest,
    TotalsRequest,
    TransferRequest,
)
from solvent.engine.api.usage_answers import plain_lines
from solvent.engine.api.usage_requests import UsageRequest
from solvent.engine.rules.checking import check, debit_command, transfer_pools
from solvent.engine.rules.commands import Command, Debit
from solvent.engine.rules.fields import KEY_CHARS_MAX
from solvent.engine.values.amounts import AmountLike, parse_amount
from solvent.engine.values.dimensions import NO_DIMENSIONS, DecodedDimensions, Dimensions, encode_decoded
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.numbers import WrittenNumber, read_number
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, PoolId, check_id, parse_pool, pool_id
from solvent.engine.values.quantities import QuantityLike, check_quantity
from solvent.engine.values.terms import KEEP
from solvent.engine.values.times import TimeLike

from .forms import Writer, form_of, write_amount, write_dimensions, write_time
from .operations import COMMANDS, READS
from .usage import address_of_usage, usage_within

BODY_BYTES_MAX: Final = 1 << 20
SHOWN_CHARS_MAX: Final = 100
"""The most characters of an undecodable body that an error repeats, because the answer must fit into a message."""
T = TypeVar("T")


class Address(NamedTuple):
    """The target in a transport's address: a subject of NATS, a path of HTTP."""

    environment: str
    customer: str | None
    """The customer, ``None`` if the address covers the whole environment."""


class _Field(NamedTuple):
    name: str
    default: Any
    write: Writer | None


class Body(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A request in JSON, without what the address names."""

    kind: ClassVar[type[Request[Any]]]
    own: ClassVar[tuple[_Field, ...]]
    """The fields that body and request share."""

    def request(self, address: Address) -> Request[Any]:
        """Return the request sent to ``address``. Raises ``InvalidRequest`` if the body names another target."""
        raise NotImplementedError

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        """Return the address of ``request``, and the other fields that name its target. Raises ``InvalidRequest``."""
        raise NotImplementedError

    def _build(self, **about: Any) -> Request[Any]:
        for name, _, _ in self.own:
            value = getattr(self, name)
            if value is not UNSET:
                about[name] = value
        return self.kind(**about)


class PoolBody(Body, kw_only=True):
    """The body of a request about one pool."""

    environment: str | None = None
    customer: str | None = None
    resource: str | None = None
    currency: str = CURRENCY_DEFAULT

    def pool(self, address: Address) -> PoolId:
        """Return the pool. Raises ``InvalidRequest`` if body and address differ, or neither names a customer."""
        environment, customer = address
        if self.environment is not None and self.environment != environment:
            raise InvalidRequest("environment", "the environment of the subject", got=repr(self.environment)[:60])
        if customer is None:
            if self.customer is None:
                raise InvalidRequest("customer", "the customer of this command: the subject names none")
            return pool_id(environment, self.customer, self.resource, self.currency)
        if self.customer is not None and self.customer != customer:
            raise InvalidRequest("customer", "the customer of the subject", got=repr(self.customer)[:60])
        return pool_id(environment, customer, self.resource, self.currency)

    def request(self, address: Address) -> Request[Any]:
        return self._build(pool=self.pool(_with_customer(address)))

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        pool = parse_pool(request.pool)
        return Address(pool.environment, pool.customer), {"resource": pool.resource, "currency": pool.currency}


class CommandBody(PoolBody, kw_only=True):
    """The body of a command: alone, or one of a batch."""

    def command(self, address: Address, scale_of: Callable[[str], int]) -> tuple[PoolId, Command]:
        """Return the pool and the checked command. Raises ``InvalidRequest``."""
        pool = self.pool(address)
        request = self._build(pool=pool)
        assert isinstance(request, CommandRequest)  # noqa: S101 - narrows the type
        return pool, check(request, scale_of(pool.currency))

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        address, names = super().about(request)
        # Commands that share a message may have different customers, so each names its own.
        return address, {"customer": address.customer, **names}


class TransferBody(PoolBody, kw_only=True):
    """The body of a transfer from ``resource`` to ``to_resource``. Without the latter, it goes to the global pool."""

    to_resource: str | None = None

    def request(self, address: Address) -> Request[Any]:
        source = self.pool(_with_customer(address))
        target = pool_id(source.environment, source.customer, self.to_resource, self.currency)
        return self._build(pool=source, target=target)

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        _, target = transfer_pools(request)
        address, names = super().about(request)
        return address, {**names, "to_resource": target.resource}


class CustomerBody(Body, kw_only=True):
    """The body of a request about the pools of a customer, or of an environment."""

    environment: str | None = None
    customer: str | None = None

    def request(self, address: Address) -> Request[Any]:
        environment, customer = address
        if self.environment not in (None, environment):
            raise InvalidRequest("environment", "the environment of the subject", got=repr(self.environment)[:60])
        if self.customer is not None and self.customer != customer:
            raise InvalidRequest("customer", "the customer of the subject", got=repr(self.customer)[:60])
        if customer is None and self.kind is TotalsRequest:
            _with_customer(address)
        return self._build(environment=environment, customer=customer)

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        environment = check_id(request.environment, "environment")
        # ``None`` is allowed only where the customer may be left out.
        whole = request.customer is None and cls.kind is not TotalsRequest
        return Address(environment, None if whole else check_id(request.customer, "customer")), {}


class EventsBody(PoolBody, kw_only=True):
    """The body of a request for the events of one pool, or with ``whole`` of all pools that the address covers."""

    whole: bool = False

    def request(self, address: Address) -> Request[Any]:
        if self.whole:
            return self._build(environment=address.environment, customer=address.customer)
        return self._build(pool=self.pool(_with_customer(address)))

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        if request.pool is not None:
            return super().about(request)
        environment = check_id(request.environment, "environment")
        customer = None if request.customer is None else check_id(request.customer, "customer")
        return Address(environment, customer), {"whole": True}


class EnvironmentBody(Body, kw_only=True):
    """The body of a request about a whole environment."""

    def request(self, address: Address) -> Request[Any]:
        if address.customer is not None:
            # A caller with permission for one customer must not set the prices of all.
            expected = '"-" in the subject: rate cards are those of an environment'
            raise InvalidRequest("customer", expected, got=address.customer[:60])
        return self._build(environment=address.environment)

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        check_id(request.currency, "currency")
        return Address(check_id(request.environment, "environment"), None), {}


class ServiceBody(Body, kw_only=True):
    """The body of a request about the service as a whole."""

    def request(self, address: Address) -> Request[Any]:
        if address.customer is not None:
            expected = '"-" in the subject: this is about the whole service'
            raise InvalidRequest("customer", expected, got=address.customer[:60])
        return self._build(environment=address.environment)

    @classmethod
    def about(cls, request: Any) -> tuple[Address, dict[str, Any]]:
        return Address(check_id(request.environment, "environment"), None), {}


_BASES: Final[tuple[tuple[type[Request[Any]], type[Body], frozenset[str]], ...]] = (
    (CommandRequest, CommandBody, frozenset({"pool"})),
    (TransferRequest, TransferBody, frozenset({"pool", "target"})),
    (PoolRequest, PoolBody, frozenset({"pool"})),
    (CustomerRequest, CustomerBody, frozenset({"environment", "customer"})),
    (PastEventsRequest, EventsBody, frozenset({"pool", "environment", "customer"})),
    (RatesRequest, EnvironmentBody, frozenset({"environment"})),
    (SetRatesRequest, EnvironmentBody, frozenset({"environment"})),
    (ServiceRequest, ServiceBody, frozenset({"environment"})),
)
"""The body of each kind of request, and the fields that name its target. The first match counts."""


def _with_customer(address: Address) -> Address:
    if address.customer is None:
        raise InvalidRequest("customer", "a customer in the subject")
    return address


def _debit_command(body: Any, address: Address, scale_of: Callable[[str], int]) -> tuple[PoolId, Command]:
    # Build no request between body and command, because debits come by the thousand.
    pool = body.pool(address)
    return pool, debit_command(
        scale=scale_of(pool.currency),
        amount=body.amount,
        key=body.key,
        partial=body.partial,
        occurred_at=body.occurred_at,
        metric=body.metric,
        quantity=body.quantity,
        dimensions=body.dimensions,
        backfill=body.backfill,
    )


def _strict_debit_command(body: Any, address: Address, scale_of: Callable[[str], int]) -> tuple[PoolId, Command]:
    if body.occurred_at is not None or body.metric is not None or body.quantity is not None:
        return _debit_command(body, address, scale_of)
    pool = body.pool(address)
    return pool, Debit(
        check_id(body.key, "key", chars_max=KEY_CHARS_MAX),
        parse_amount(body.amount, scale_of(pool.currency)),
        body.partial,
        None,
        None,
        None,
        NO_DIMENSIONS if body.dimensions is None else encode_decoded(body.dimensions, "dimensions"),
        body.backfill,
    )


_SHORT_WAYS: Final[dict[type[Request[Any]], dict[str, Any]]] = {DebitRequest: {"command": _debit_command}}


def _derive(kind: type[Request[Any]]) -> type[Body]:
    """Return the body of a kind of request, made from the fields of its struct."""
    base, about = next((body, names) for parent, body, names in _BASES if issubclass(kind, parent))
    own: list[_Field] = []
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    # The key comes last, so that the error about an empty body names a field particular to the operation.
    for field in sorted(msgspec.structs.fields(kind), key=lambda field: field.name == "key"):
        if field.name in about:
            continue
        form = form_of(field.type)
        own.append(_Field(field.name, field.default, form.write))
        if field.default is NODEFAULT:
            fields.append((field.name, form.json))
        else:
            default = UNSET if field.default is KEEP else [] if field.default == () else field.default
            fields.append((field.name, form.json, default))
    # The operation is the tag of a command, because each command of a batch names its own.
    is_command = issubclass(kind, CommandRequest)
    body: Any = msgspec.defstruct(
        kind.__name__.removesuffix("Request") + "Body",
        fields,
        bases=(base,),
        namespace={"kind": kind, "own": tuple(own), "__doc__": kind.__doc__, **_SHORT_WAYS.get(kind, {})},
        module=__name__,
        kw_only=True,
        omit_defaults=True,
        forbid_unknown_fields=True,
        tag_field="op" if is_command else None,
        tag=kind.operation if is_command else None,
    )
    derived: type[Body] = body
    return derived


BODIES: Final[dict[type[Request[Any]], type[Body]]] = {
    each.request: _derive(each.request)
    for each in (*COMMANDS.values(), *READS.values())
    if not issubclass(each.request, UsageRequest)
}
"""The body of each type of request. Requests about usage are bodies themselves."""


DEBIT_BODY: Final = BODIES[DebitRequest]
STRICT_DEBIT_BODY: Final = msgspec.defstruct(
    "StrictDebitBody",
    [("dimensions", DecodedDimensions | None, None)],
    bases=(DEBIT_BODY,),
    namespace={"command": _strict_debit_command},
    module=__name__,
    kw_only=True,
    tag_field="op",
    tag=DebitRequest.operation,
)
"""A debit whose decoder checks all dimensions, for batches of thousands. If it refuses one, ``DEBIT_BODY`` gives the
reason, or takes it: one with a number that is not written as an integer."""


def body_of(request: Request[Any]) -> tuple[Address, object]:
    """Return the address and the body of ``request``. Raises ``InvalidRequest`` for values that JSON would change."""
    if isinstance(request, UsageRequest):
        return Address(*address_of_usage(request)), request
    body = BODIES.get(type(request))
    if body is None:
        raise InvalidRequest("request", "a request that a service answers", got=type(request).__name__)
    address, given = body.about(request)
    for name, default, write in body.own:
        value = getattr(request, name)
        if value is not default:
            given[name] = value if write is None or value is None else write(value, name)
    return address, body(**given)


def debit_body(
    pool: PoolId,
    amount: AmountLike,
    key: str,
    partial: bool,
    occurred_at: TimeLike | None,
    metric: str | None,
    quantity: QuantityLike | None,
    dimensions: Dimensions | None,
    backfill: bool,
) -> object:
    """Return the body of a debit from its fields. Raises ``InvalidRequest``.

    The result is that of ``body_of``, in 0.4 µs instead of 3.1. A client builds one for every debit, in about 12 µs in
    all.
    """
    if type(amount) is not str and type(amount) is not int:
        amount = write_amount(amount)
    if dimensions is not None and not _is_text(dimensions):
        dimensions = write_dimensions(dimensions, "dimensions")
    build: Any = DEBIT_BODY
    return build(
        customer=pool.customer,
        resource=pool.resource,
        currency=pool.currency,
        amount=amount,
        key=key,
        partial=partial,
        occurred_at=None if occurred_at is None else write_time(occurred_at, "occurred_at"),
        metric=metric,
        quantity=None if quantity is None else check_quantity(quantity),
        dimensions=dimensions,
        backfill=backfill,
    )


def _is_text(dimensions: Dimensions) -> bool:
    """Return whether all dimensions are text. Nearly always they are, and JSON carries text unchanged."""
    if type(dimensions) is not dict:
        return False
    for name, value in dimensions.items():  # noqa: SIM110 - all() over a generator costs twice as much, on every debit
        if type(value) is not str or type(name) is not str:
            return False
    return True


def request_of(body: Body | UsageRequest[Any], address: Address) -> Request[Any]:
    """Return the request whose body was sent to ``address``. Raises ``InvalidRequest`` if the two differ."""
    return usage_within(body, *address) if isinstance(body, UsageRequest) else body.request(address)


def decoder_of_body(kind: type[Request[Any]]) -> msgspec.json.Decoder[Any]:
    """Return a decoder of the bodies of a kind of request."""
    # A question about usage is part of its answer, so it has plain numbers. What is no value is refused before.
    hook = read_number if issubclass(kind, UsageRequest) else WrittenNumber
    return msgspec.json.Decoder(BODIES.get(kind, kind), float_hook=hook)


_encoder: Final = msgspec.json.Encoder(enc_hook=plain_lines)

UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The errors of a decoder. It raises the last for brackets nested a thousand deep."""
_PLACE: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_NAMED: Final = re.compile(r"(?:unknown|required) field `([^`]*)`")


def encode_body(body: object) -> bytes:
    """Return a body as bytes. Raises ``InvalidRequest`` for values that JSON does not have."""
    try:
        return _encoder.encode(body)
    except (TypeError, OverflowError, UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise InvalidRequest("body", "values that JSON has", got=str(error)[:100]) from None


def decode_body(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    """Decode a body. Raises ``InvalidRequest`` naming the field, or ``body`` if it is no JSON object."""
    try:
        return decoder.decode(payload or b"{}")
    except UNDECODABLE as error:
        raise explain(error) from None


def explain(error: Exception) -> InvalidRequest:
    """Return the error of a decoder as an ``InvalidRequest`` that names the field."""
    text = str(error)
    place = _PLACE.search(text)
    named = _NAMED.search(text)
    reason = _PLACE.sub("", text)[:SHOWN_CHARS_MAX]
    if named is not None:
        expected = "no such field" if "unknown" in text else "this field"
        return InvalidRequest(named[1][:SHOWN_CHARS_MAX], expected)
    field = place[1].replace("[...]", "").strip(".") if place is not None else ""
    if field.startswith("commands"):
        field = field.removeprefix("commands").lstrip(".")
    return InvalidRequest(field or "body", reason.removeprefix("Expected ") if field else f"JSON: {reason}")
