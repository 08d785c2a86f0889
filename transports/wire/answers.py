"""Answers and errors as JSON, and their decoders back into the types of the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from solvent.engine.api.answers import Answer
from solvent.engine.api.balances import Balance
from solvent.engine.api.events import PoolEvent
from solvent.engine.api.receipts import NO_DETAILS, Details, Receipt
from solvent.engine.api.usage_answers import plain_lines
from solvent.engine.values.amounts import format_amount
from solvent.engine.values.errors import SolventError, error_from_wire, error_to_wire
from solvent.engine.values.terms import HoldState
from solvent.engine.values.times import EPOCH, MICROSECOND, to_datetime

T = TypeVar("T")
ReceiptForm: TypeAlias = Literal["text", "units"]
"""The form of the receipts of a batch. "text": objects with decimal text, as everywhere else. "units": arrays of the
fields of ``Receipt`` in their order, with whole numbers of ``scale`` decimal places and microseconds, which costs both
ends much less."""

_encoder: Final = msgspec.json.Encoder(enc_hook=plain_lines)


class _AllocationWire(msgspec.Struct):
    grant: str
    amount: str


class _CoverageWire(msgspec.Struct):
    allowance: str
    amount: str


class _SettlementWire(msgspec.Struct):
    entry: str
    captured: str
    returned: str
    lapsed: str
    uncovered: str


class ReceiptWire(msgspec.Struct, omit_defaults=True):
    """A receipt in JSON."""

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
    granted: str = "0"
    next_at: datetime | None = None
    cut: tuple[str, ...] = ()
    state: HoldState | None = None
    settlement: _SettlementWire | None = None
    opened_pool: bool = False
    stopped_by: str | None = None
    resets_at: datetime | None = None


RECEIPT_FIELDS: Final = {
    "id": "string",
    "amount": "decimal string",
    "allocations": "list of [Allocation](#allocation)",
    "balance": "decimal string",
    "version": "integer",
    "recorded_at": "time",
    "replayed": "boolean",
    "hold": "string or null",
    "debit": "string or null",
    "expires_at": "time or null",
    "returned": "decimal string",
    "lapsed": "decimal string",
    "uncovered": "decimal string",
    "warnings": "list of strings",
    "card": "integer or null",
    "covered": "decimal string",
    "allowances": "list of [Coverage](#coverage)",
    "granted": "decimal string",
    "next_at": "time or null",
    "cut": "list of strings",
    "state": '"open", "captured", "released", "expired" or null',
    "settlement": "[Settlement](#settlement) or null",
    "opened_pool": "boolean",
    "stopped_by": "string or null",
    "resets_at": "time or null",
}
"""The fields of a receipt on the wire, with their types in the words of the reference."""


class _ErrorWire(msgspec.Struct):
    error: dict[str, Any]


class _AnswersWire(msgspec.Struct):
    answers: list[msgspec.Raw]


class _UnitAnswersWire(msgspec.Struct):
    answers: list[Receipt | dict[str, dict[str, Any]]]


_moment = lru_cache(maxsize=1_024)(to_datetime)
"""A cached ``to_datetime``, because the answers of one commit share their time."""


def _receipt_wire(receipt: Receipt) -> ReceiptWire:
    scale = receipt.scale
    wire = ReceiptWire(
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
        wire.granted, wire.next_at = format_amount(details.granted_units, scale), receipt.next_at
        wire.covered = format_amount(sum([units for _, units in details.covers_units]), scale)
        wire.cut = details.cut
        wire.state, wire.opened_pool = details.state, details.opened
        wire.stopped_by, wire.resets_at = details.stopped_by, receipt.resets_at
        if details.settled_units is not None:
            entry, *amounts = details.settled_units
            wire.settlement = _SettlementWire(entry, *[format_amount(units, scale) for units in amounts])
        wire.allowances = [_CoverageWire(name, format_amount(units, scale)) for name, units in details.covers_units]
    return wire


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as JSON."""
    return _encoder.encode(_receipt_wire(answer) if isinstance(answer, Receipt) else answer)


def encode_event(event: PoolEvent | Balance) -> bytes:
    """Return an event or a balance as JSON, to be published."""
    return _encoder.encode(event)


def encode_error(error: SolventError) -> bytes:
    """Return an error as JSON: ``{"error": {"code": ..., "message": ..., ...}}``."""
    return _encoder.encode(_ErrorWire(error_to_wire(error)))


def encode_one(answer: Receipt | SolventError, receipts: ReceiptForm) -> bytes:
    """Return one answer of a batch as JSON."""
    if isinstance(answer, SolventError):
        return encode_error(answer)
    return _encoder.encode(answer if receipts == "units" else _receipt_wire(answer))


def encode_answers(answers: Sequence[Receipt | SolventError], receipts: ReceiptForm = "text") -> bytes:
    """Return the answers of a batch as JSON, in the order of its commands."""
    if receipts == "units":
        # Receipts go to the encoder unchanged, so that no line of Python runs for each.
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


CLIENT_SCALE: Final = 9
"""The decimal places of amounts in a client: those of the finest currency."""


_AMOUNT: Final = re.compile(rf"-?[0-9]+(?:\.[0-9]{{1,{CLIENT_SCALE}}})?", re.ASCII)


def _units(text: str) -> int:
    # An amount with more places would be read as another amount.
    if _AMOUNT.fullmatch(text) is None:
        raise ValueError(f"{text[:60]!r} is not an amount")
    whole, _, places = text.partition(".")
    return int(whole + places.ljust(CLIENT_SCALE, "0"))


_receipts: Final = msgspec.json.Decoder(ReceiptWire)
_errors: Final = msgspec.json.Decoder(_ErrorWire)
_answer_lists: Final = msgspec.json.Decoder(_AnswersWire)
_unit_answers: Final = msgspec.json.Decoder(_UnitAnswersWire)


def decode_receipt(payload: bytes) -> Receipt:
    """Return a receipt from its JSON object."""
    return _receipt(_receipts.decode(payload))


def _receipt(wire: ReceiptWire) -> Receipt:
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


def _details(wire: ReceiptWire) -> Details:
    if (
        wire.hold is None
        and wire.debit is None
        and wire.expires_at is None
        and wire.card is None
        and wire.next_at is None
        and wire.granted == "0"
        and wire.lapsed == "0"
        and not wire.warnings
        and not wire.allowances
        and not wire.opened_pool
        and wire.stopped_by is None
        and not wire.cut
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
        granted_units=_units(wire.granted),
        next_at_us=None if wire.next_at is None else _microseconds(wire.next_at),
        covers_units=tuple((each.allowance, _units(each.amount)) for each in wire.allowances),
        cut=wire.cut,
        state=wire.state,
        opened=wire.opened_pool,
        stopped_by=wire.stopped_by,
        resets_at_us=None if wire.resets_at is None else _microseconds(wire.resets_at),
        settled_units=None if wire.settlement is None else _settled(wire.settlement),
    )


def _settled(wire: _SettlementWire) -> tuple[str, int, int, int, int]:
    return (
        wire.entry,
        _units(wire.captured),
        _units(wire.returned),
        _units(wire.lapsed),
        _units(wire.uncovered),
    )


def decode_answers(payload: bytes) -> list[Receipt | SolventError]:
    """Return the answers of a batch, in the order of its commands."""
    return [
        error_from_wire(_errors.decode(raw).error)
        if bytes(raw).startswith(b'{"error"')
        else _receipt(_receipts.decode(raw))
        for raw in _answer_lists.decode(payload).answers
    ]


def decode_unit_answers(payload: bytes) -> list[Receipt | SolventError]:
    """Return the answers of a batch that asked for receipts in ``units``."""
    answers = _unit_answers.decode(payload).answers
    return [error_from_wire(each["error"]) if isinstance(each, dict) else each for each in answers]


_pool_events: Final = msgspec.json.Decoder(PoolEvent)


def decode_event(payload: bytes) -> PoolEvent:
    """Return a published event."""
    return _pool_events.decode(payload)


def decode_error(payload: bytes) -> SolventError:
    """Return an error from its JSON."""
    return error_from_wire(_errors.decode(payload).error)


@lru_cache(maxsize=1_024)
def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def decoder_of(kind: type[T]) -> Callable[[bytes], T]:
    """Return a decoder of answers of ``kind``. It refuses anything else."""
    return msgspec.json.Decoder(kind).decode
