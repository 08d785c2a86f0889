"""What travels: request bodies, answers and errors as JSON, and their way back into the engine's types.

Unknown fields are refused, amounts are integers or decimal strings (a JSON float is refused, naming the field), and
what cannot be decoded is an ``InvalidRequest`` like any other bad input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from solvent.engine.api.answers import Answer
from solvent.engine.api.balances import Balance
from solvent.engine.api.credits import HOLD_TTL_DEFAULT_S
from solvent.engine.api.events import PoolEvent
from solvent.engine.api.receipts import NO_DETAILS, Details, Receipt
from solvent.engine.api.usage_answers import plain_lines
from solvent.engine.rules.checking import COMMANDS, KEY_CHARS_MAX, debit_command, grant_command
from solvent.engine.rules.commands import Command, Debit, Grant
from solvent.engine.values.amounts import format_amount, parse_amount
from solvent.engine.values.dimensions import NO_DIMENSIONS, CheckedDimensions, encode_decoded
from solvent.engine.values.errors import InvalidRequest, SolventError, TooLarge, error_from_wire, error_to_wire
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, PoolId, check_id, pool_id
from solvent.engine.values.terms import PRIORITY_DEFAULT
from solvent.engine.values.times import EPOCH, MICROSECOND, to_datetime

CODE_HEADER: Final = "Nats-Service-Error-Code"
TEXT_HEADER: Final = "Nats-Service-Error"
BATCH_COMMANDS_MAX: Final = 2_000
"""Commands of one message. Their receipts, about 200 bytes each, must fit into one reply of 1 MiB."""
BODY_BYTES_MAX: Final = 1 << 20
SHOWN_CHARS_MAX: Final = 100
"""How much of what cannot be decoded an error repeats: the answer must fit into a message."""

Amount: TypeAlias = int | str
T = TypeVar("T")


class Body(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What every body may carry. Environment and customer only repeat what the subject says."""

    environment: str | None = None
    customer: str | None = None
    resource: str | None = None
    currency: str = CURRENCY_DEFAULT


class GrantBody(Body, tag_field="op", tag="grant"):
    amount: Amount
    key: str
    category: str = "paid"
    priority: int = PRIORITY_DEFAULT
    effective_at: str | None = None
    expires_at: str | None = None
    cost_basis: dict[str, str] | None = None
    name: str | None = None
    comment: str | None = None
    metadata: dict[str, Any] | None = None

    def command(self, scale: int) -> Grant:
        return grant_command(
            scale=scale,
            amount=self.amount,
            key=self.key,
            category=self.category,
            priority=self.priority,
            effective_at=self.effective_at,
            expires_at=self.expires_at,
            cost_basis=self.cost_basis,
            name=self.name,
            comment=self.comment,
            metadata=self.metadata,
        )


class DebitBody(Body, tag_field="op", tag="debit"):
    amount: Amount
    key: str
    partial: bool = False
    occurred_at: str | None = None
    metric: str | None = None
    quantity: Amount | None = None
    dimensions: dict[str, Any] | None = None
    backfill: bool = False

    def command(self, scale: int) -> Debit:
        return debit_command(
            scale=scale,
            amount=self.amount,
            key=self.key,
            partial=self.partial,
            occurred_at=self.occurred_at,
            metric=self.metric,
            quantity=self.quantity,
            dimensions=self.dimensions,
            backfill=self.backfill,
        )


class _StrictDebitBody(DebitBody, tag_field="op", tag="debit"):
    """A debit whose decoder has looked at all dimensions: one of thousands in a batch. If it will not have one of them,
    ``DebitBody`` says why.
    """

    dimensions: CheckedDimensions | None = None

    def command(self, scale: int) -> Debit:
        if self.occurred_at is not None or self.metric is not None or self.quantity is not None:
            return DebitBody.command(self, scale)
        return Debit(
            check_id(self.key, "key", chars_max=KEY_CHARS_MAX),
            parse_amount(self.amount, scale),
            self.partial,
            None,
            None,
            None,
            NO_DIMENSIONS if self.dimensions is None else encode_decoded(self.dimensions, "dimensions"),
            self.backfill,
        )


class _PlainBody(Body):
    """A command whose body has the fields of its ``*_command`` function."""

    operation: ClassVar[str]

    def command(self, scale: int) -> Command:
        given = ((name, getattr(self, name)) for name in self.__struct_fields__ if name not in _POOL_FIELDS)
        return COMMANDS[self.operation](scale=scale, **{name: value for name, value in given if value is not UNSET})


class UpdateGrantBody(_PlainBody, tag_field="op", tag="grant.update"):
    operation = "grant.update"

    grant: str
    key: str
    priority: int | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class VoidGrantBody(_PlainBody, tag_field="op", tag="grant.void"):
    operation = "grant.void"

    grant: str


class HoldBody(_PlainBody, tag_field="op", tag="hold"):
    operation = "hold"

    amount: Amount
    key: str
    ttl_s: int | float = HOLD_TTL_DEFAULT_S
    metric: str | None = None
    dimensions: dict[str, Any] | None = None


class CaptureBody(_PlainBody, tag_field="op", tag="hold.capture"):
    operation = "hold.capture"

    hold: str
    amount: Amount
    occurred_at: str | None = None
    metric: str | None = None
    quantity: Amount | None = None


class ReleaseBody(_PlainBody, tag_field="op", tag="hold.release"):
    operation = "hold.release"

    hold: str


class ReverseBody(_PlainBody, tag_field="op", tag="reverse"):
    operation = "reverse"

    debit: str
    key: str
    amount: Amount | None = None


class SetBudgetBody(_PlainBody, tag_field="op", tag="budget.set"):
    operation = "budget.set"

    name: str
    amount: Amount
    window: str
    time_zone: str = "UTC"
    match: dict[str, Any] | None = None
    each: str | None = None
    mode: str = "block"
    holds_max: int | None = None


class RemoveBudgetBody(_PlainBody, tag_field="op", tag="budget.remove"):
    operation = "budget.remove"

    name: str


class OpenPoolBody(_PlainBody, tag_field="op", tag="pool.open"):
    operation = "pool.open"


class SetAllowanceBody(_PlainBody, tag_field="op", tag="allowance.set"):
    operation = "allowance.set"

    name: str
    amount: Amount
    window: str | None = None
    rolling_s: int | None = None
    time_zone: str = "UTC"
    match: dict[str, Any] | None = None
    each: str | None = None
    metric: str | None = None


class RemoveAllowanceBody(_PlainBody, tag_field="op", tag="allowance.remove"):
    operation = "allowance.remove"

    name: str


class SetRecurringBody(_PlainBody, tag_field="op", tag="recurring.set"):
    operation = "recurring.set"

    name: str
    amount: Amount
    period: str
    every: int = 1
    anchor: str | None = None
    starts_at: str | None = None
    ends_at: str | None = None
    time_zone: str = "UTC"
    category: str = "paid"
    priority: int = PRIORITY_DEFAULT
    cost_basis: dict[str, str] | None = None
    roll_over: Amount = "none"
    prorate: bool = False


class CancelRecurringBody(_PlainBody, tag_field="op", tag="recurring.cancel"):
    operation = "recurring.cancel"

    name: str
    at_once: bool = False


class SetAlertsBody(_PlainBody, tag_field="op", tag="alerts.set"):
    operation = "alerts.set"

    low: list[Amount] = []
    expiring_within_s: int | None = None
    budget_percents: list[int] = []
    recharge: dict[str, Any] | None = None


class GrantRechargeBody(_PlainBody, tag_field="op", tag="recharge.grant"):
    operation = "recharge.grant"

    recharge: str
    amount: Amount | None = None
    cost_basis: dict[str, str] | None = None
    expires_at: str | None = None
    comment: str | None = None


class RefuseRechargeBody(_PlainBody, tag_field="op", tag="recharge.refuse"):
    operation = "recharge.refuse"

    recharge: str


class ReportBody(_PlainBody, tag_field="op", tag="report"):
    operation = "report"

    metric: str
    quantity: Amount
    key: str
    partial: bool = False
    occurred_at: str | None = None
    dimensions: dict[str, Any] | None = None
    backfill: bool = False


class EventsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Many usage events in one ``report``."""

    events: list[msgspec.Raw]


class SetRatesBody(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    rates: list[dict[str, Any]]
    currency: str = CURRENCY_DEFAULT
    effective_at: str | None = None


class RatesBody(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    currency: str = CURRENCY_DEFAULT


class TransferBody(Body):
    """From the pool that ``resource`` and ``currency`` say to that of ``to_resource``; without it, the global pool."""

    amount: Amount
    key: str
    to_resource: str | None = None


class EstimateBody(Body):
    metric: str
    quantity: Amount
    occurred_at: str | None = None
    dimensions: dict[str, Any] | None = None


_OtherBody: TypeAlias = (
    GrantBody
    | UpdateGrantBody
    | VoidGrantBody
    | HoldBody
    | CaptureBody
    | ReleaseBody
    | ReverseBody
    | ReportBody
    | SetBudgetBody
    | RemoveBudgetBody
    | OpenPoolBody
    | SetAllowanceBody
    | RemoveAllowanceBody
    | SetRecurringBody
    | CancelRecurringBody
    | SetAlertsBody
    | GrantRechargeBody
    | RefuseRechargeBody
)
CommandBody: TypeAlias = DebitBody | _OtherBody
COMMAND_BODIES: Final[dict[str, type[CommandBody]]] = {
    "grant": GrantBody,
    "grant.update": UpdateGrantBody,
    "grant.void": VoidGrantBody,
    "debit": DebitBody,
    "hold": HoldBody,
    "hold.capture": CaptureBody,
    "hold.release": ReleaseBody,
    "reverse": ReverseBody,
    "report": ReportBody,
    "budget.set": SetBudgetBody,
    "budget.remove": RemoveBudgetBody,
    "pool.open": OpenPoolBody,
    "allowance.set": SetAllowanceBody,
    "allowance.remove": RemoveAllowanceBody,
    "recurring.set": SetRecurringBody,
    "recurring.cancel": CancelRecurringBody,
    "alerts.set": SetAlertsBody,
    "recharge.grant": GrantRechargeBody,
    "recharge.refuse": RefuseRechargeBody,
}
"""By operation."""
_POOL_FIELDS: Final = frozenset(Body.__struct_fields__)


class MomentBody(Body):
    as_of: str | None = None


class RangeBody(Body):
    start: str | None = None
    end: str | None = None


class CheckBody(Body):
    amount: Amount
    dimensions: dict[str, Any] | None = None
    metric: str | None = None
    quantity: Amount | None = None


class PastEventsBody(Body):
    """Of the pool, if ``resource`` or ``whole`` say so; else of the customer or environment of the subject."""

    whole: bool = False
    """Whether to tell of all pools that the subject speaks of."""
    after: str = "0.0"
    limit: int = 100


class LedgerBody(Body):
    limit: int = 100
    cursor: str | None = None
    newest_first: bool = True


class PoolsBody(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    environment: str | None = None
    customer: str | None = None
    limit: int = 100
    cursor: str | None = None


ReceiptForm: TypeAlias = Literal["text", "units"]
"""How a batch wants its receipts: each as an object with decimal text, as anywhere; or each as an array of the fields
of ``Receipt`` in their order, with whole numbers of ``scale`` decimal places and microseconds, which costs both ends
much less."""


class TotalsBody(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    environment: str | None = None
    customer: str | None = None


class _BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    commands: list[_StrictDebitBody | _OtherBody]
    atomic: bool = False
    receipts: ReceiptForm = "text"


class _LooseBatchBody(msgspec.Struct, forbid_unknown_fields=True):
    commands: list[msgspec.Raw]
    atomic: bool = False
    receipts: ReceiptForm = "text"


class BatchRequest(NamedTuple):
    """A batch, with the reason in the place of each command that could not be decoded."""

    commands: list[CommandBody | InvalidRequest]
    atomic: bool
    receipts: ReceiptForm


_commands: Final = msgspec.json.Decoder(CommandBody)
_batches: Final = msgspec.json.Decoder(_BatchBody)
_events: Final = msgspec.json.Decoder(EventsBody)
_reports: Final = msgspec.json.Decoder(ReportBody)
_loose_batches: Final = msgspec.json.Decoder(_LooseBatchBody)
_encoder: Final = msgspec.json.Encoder(enc_hook=plain_lines)

_UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises: the last for brackets nested a thousand deep."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PLACE: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_NAMED: Final = re.compile(r"(?:unknown|required) field `([^`]*)`")


def decode_body(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    """Decode a request. Raises ``InvalidRequest`` naming the field, or ``body`` for what is no JSON object."""
    try:
        return decoder.decode(payload or b"{}")
    except _UNDECODABLE as error:
        raise _explain(error) from None


def _explain(error: Exception) -> InvalidRequest:
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


def check_batch(commands: int) -> None:
    """Raises ``TooLarge`` if a batch has more commands than one may have."""
    if commands > BATCH_COMMANDS_MAX:
        raise TooLarge("commands", f"at most {BATCH_COMMANDS_MAX} commands", got=str(commands))


def decode_events(payload: bytes) -> list[CommandBody | InvalidRequest] | None:
    """The usage events of a ``report`` of many; ``None`` if it is a report of one. Raises ``InvalidRequest``."""
    if b'"events"' not in payload:
        return None
    try:
        events = _events.decode(payload).events
    except _UNDECODABLE as error:
        # A single event whose dimensions or key hold the word: its own decoder judges it.
        if "unknown field" in str(error) or "missing required field" in str(error):
            return None
        raise _explain(error) from None
    check_batch(len(events))
    return [_decode_one(_reports, raw) for raw in events]


def _decode_one(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw) -> Any:
    try:
        return decode_body(decoder, bytes(raw))
    except InvalidRequest as invalid:
        return invalid


def decode_batch(payload: bytes) -> BatchRequest:
    """Raises ``InvalidRequest``, ``TooLarge``."""
    try:
        batch = _batches.decode(payload)
    except _UNDECODABLE:
        # One of them is bad, or all: the careful way finds out. It is slow, so their number is looked at first.
        loose = decode_body(_loose_batches, payload)
        check_batch(len(loose.commands))
        commands = [_decode_one(_commands, raw) for raw in loose.commands]
        return BatchRequest(commands, loose.atomic, loose.receipts)
    check_batch(len(batch.commands))
    return BatchRequest([*batch.commands], batch.atomic, batch.receipts)


def pool_of(body: Body, environment: str, customer: str | None) -> PoolId:
    """The pool that ``body`` is about, under its subject. Raises ``InvalidRequest`` if it names another."""
    if body.environment is not None and body.environment != environment:
        raise InvalidRequest("environment", "the environment of the subject", got=repr(body.environment)[:60])
    if customer is None:
        if body.customer is None:
            raise InvalidRequest("customer", "the customer of this command: the subject names none")
        return pool_id(environment, body.customer, body.resource, body.currency)
    if body.customer is not None and body.customer != customer:
        raise InvalidRequest("customer", "the customer of the subject", got=repr(body.customer)[:60])
    return pool_id(environment, customer, body.resource, body.currency)


class _AllocationWire(msgspec.Struct):
    grant: str
    amount: str


class _CoverageWire(msgspec.Struct):
    allowance: str
    amount: str


class _ReceiptWire(msgspec.Struct, omit_defaults=True):
    id: str
    amount: str
    allocations: list[_AllocationWire]
    balance: str
    version: int
    recorded_at: datetime
    replayed: bool
    hold: str | None = None
    debit: str | None = None
    expires_at: datetime | None = None
    returned: str = "0"
    lapsed: str = "0"
    uncovered: str = "0"
    warnings: tuple[str, ...] = ()
    card: int | None = None
    covered: str = "0"
    allowances: list[_CoverageWire] = []


class _ErrorWire(msgspec.Struct):
    error: dict[str, Any]


class _AnswersWire(msgspec.Struct):
    answers: list[msgspec.Raw]


class _UnitAnswersWire(msgspec.Struct):
    answers: list[Receipt | dict[str, dict[str, Any]]]


_moment = lru_cache(maxsize=1_024)(to_datetime)
"""The answers of one commit share their moment."""


def _receipt_wire(receipt: Receipt) -> _ReceiptWire:
    scale = receipt.scale
    wire = _ReceiptWire(
        receipt.id,
        format_amount(receipt.amount_units, scale),
        [_AllocationWire(f"g{grant}", format_amount(part, scale)) for grant, part in receipt.parts_units],
        format_amount(receipt.balance_units, scale),
        receipt.version,
        _moment(receipt.recorded_at_us),
        receipt.replayed,
    )
    details = receipt.details
    if details is not NO_DETAILS:
        wire.hold, wire.debit, wire.expires_at = receipt.hold, receipt.debit, receipt.expires_at
        wire.returned = format_amount(details.returned_units, scale)
        wire.lapsed = format_amount(details.lapsed_units, scale)
        wire.uncovered = format_amount(details.uncovered_units, scale)
        wire.warnings, wire.card = details.warnings, details.card
        wire.covered = format_amount(sum([units for _, units in details.covers_units]), scale)
        wire.allowances = [_CoverageWire(name, format_amount(units, scale)) for name, units in details.covers_units]
    return wire


def encode_receipt(receipt: Receipt) -> bytes:
    return _encoder.encode(_receipt_wire(receipt))


def encode_answer(answer: Answer) -> bytes:
    return _encoder.encode(_receipt_wire(answer) if isinstance(answer, Receipt) else answer)


def encode_event(event: PoolEvent | Balance) -> bytes:
    return _encoder.encode(event)


def encode_error(error: SolventError) -> bytes:
    return _encoder.encode(_ErrorWire(error_to_wire(error)))


def encode_answers(answers: Sequence[Receipt | SolventError], receipts: ReceiptForm = "text") -> bytes:
    if receipts == "units":
        # As they are: no line of Python runs for a receipt.
        parts = [_ErrorWire(error_to_wire(each)) if isinstance(each, SolventError) else each for each in answers]
        return _encoder.encode({"answers": parts})
    return _encoder.encode(
        {
            "answers": [
                _ErrorWire(error_to_wire(answer)) if isinstance(answer, SolventError) else _receipt_wire(answer)
                for answer in answers
            ]
        }
    )


def headers_of(error: SolventError) -> dict[str, str]:
    """The headers of an error reply (ADR-32). A header is one line of ASCII."""
    text = _CONTROL.sub(" ", error.message.encode("ascii", "backslashreplace").decode())
    return {CODE_HEADER: str(error.status), TEXT_HEADER: text[:500]}


CLIENT_SCALE: Final = 9
"""Decimal places in which a client keeps what it is told: those of the finest currency."""


_AMOUNT: Final = re.compile(rf"-?[0-9]+(?:\.[0-9]{{1,{CLIENT_SCALE}}})?", re.ASCII)


def _units(text: str) -> int:
    # More places would be read as another amount.
    if _AMOUNT.fullmatch(text) is None:
        raise ValueError(f"{text[:60]!r} is no amount")
    whole, _, places = text.partition(".")
    return int(whole + places.ljust(CLIENT_SCALE, "0"))


_receipts: Final = msgspec.json.Decoder(_ReceiptWire)
_errors: Final = msgspec.json.Decoder(_ErrorWire)
_answer_lists: Final = msgspec.json.Decoder(_AnswersWire)
_unit_answers: Final = msgspec.json.Decoder(_UnitAnswersWire)


def decode_receipt(payload: bytes) -> Receipt:
    return _receipt(_receipts.decode(payload))


def _receipt(wire: _ReceiptWire) -> Receipt:
    return Receipt(
        wire.id,
        wire.version,
        wire.replayed,
        CLIENT_SCALE,
        _units(wire.amount),
        _units(wire.balance),
        _microseconds(wire.recorded_at),
        tuple((int(each.grant[1:]), _units(each.amount)) for each in wire.allocations),
        _details(wire),
    )


def _details(wire: _ReceiptWire) -> Details:
    if (
        wire.hold is None
        and wire.debit is None
        and wire.expires_at is None
        and wire.card is None
        and not wire.warnings
        and not wire.allowances
    ):
        return NO_DETAILS
    return Details(
        hold=None if wire.hold is None else int(wire.hold[1:]),
        debit=None if wire.debit is None else int(wire.debit[1:]),
        expires_at_us=None if wire.expires_at is None else _microseconds(wire.expires_at),
        returned_units=_units(wire.returned),
        lapsed_units=_units(wire.lapsed),
        uncovered_units=_units(wire.uncovered),
        warnings=wire.warnings,
        card=wire.card,
        covers_units=tuple((each.allowance, _units(each.amount)) for each in wire.allowances),
    )


def decode_answers(payload: bytes) -> list[Receipt | SolventError]:
    """The answers of a batch."""
    return [
        error_from_wire(_errors.decode(raw).error)
        if bytes(raw).startswith(b'{"error"')
        else _receipt(_receipts.decode(raw))
        for raw in _answer_lists.decode(payload).answers
    ]


def decode_unit_answers(payload: bytes) -> list[Receipt | SolventError]:
    """The answers of a batch that wanted its receipts in ``units``."""
    answers = _unit_answers.decode(payload).answers
    return [error_from_wire(each["error"]) if isinstance(each, dict) else each for each in answers]


_pool_events: Final = msgspec.json.Decoder(PoolEvent)


def decode_event(payload: bytes) -> PoolEvent:
    return _pool_events.decode(payload)


def decode_error(payload: bytes) -> SolventError:
    return error_from_wire(_errors.decode(payload).error)


@lru_cache(maxsize=1_024)
def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def decoder_of(kind: type[T]) -> Callable[[bytes], T]:
    """Decodes answers of ``kind``, strictly."""
    return msgspec.json.Decoder(kind).decode


def encode_body(body: object) -> bytes:
    """A request as bytes. Raises ``InvalidRequest`` for what JSON cannot say."""
    try:
        return _encoder.encode(body)
    except (TypeError, OverflowError, UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise InvalidRequest("body", "values that JSON can say", got=str(error)[:100]) from None


def amount_on_the_wire(value: object, field: str = "amount") -> Any:
    """An amount as JSON may carry it: an integer or a string. Raises ``InvalidRequest`` naming ``field``."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    got = "a binary float" if isinstance(value, float) else type(value).__name__
    raise InvalidRequest(field, 'an integer or a decimal string such as "12.5"', got=got)
