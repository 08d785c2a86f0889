"""Many commands in one message: decoded together if all are well-formed, one by one if any is not."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple

import msgspec

from solvent.engine.api.requests import DebitRequest, ReportRequest
from solvent.engine.values.errors import InvalidRequest, TooLarge
from solvent.engine.values.numbers import WrittenNumber

from .answers import ReceiptForm
from .bodies import BODIES, STRICT_DEBIT_BODY, UNDECODABLE, CommandBody, decode_body, decoder_of_body, explain
from .operations import COMMANDS

BATCH_COMMANDS_MAX: Final = 2_000
"""The most commands in a message. Their receipts, about 200 bytes each, must fit into one reply of 1 MiB."""


class Batch(NamedTuple):
    """A decoded batch. In the place of a command that could not be decoded is the error."""

    commands: list[CommandBody | InvalidRequest]
    atomic: bool
    receipts: ReceiptForm


_others: Final = [BODIES[each.request] for each in COMMANDS.values() if each.request is not DebitRequest]
_AnyStrict: Final[Any] = reduce(or_, _others, STRICT_DEBIT_BODY)
_Any: Final[Any] = reduce(or_, _others, BODIES[DebitRequest])


class _Events(msgspec.Struct, forbid_unknown_fields=True):
    """Many usage events in one ``report``."""

    events: list[msgspec.Raw]


class _Commands(msgspec.Struct, forbid_unknown_fields=True):
    commands: list[_AnyStrict]  # pyright: ignore[reportInvalidTypeForm] # the union is made from the table
    atomic: bool = False
    receipts: ReceiptForm = "text"


class _LooseCommands(msgspec.Struct, forbid_unknown_fields=True):
    commands: list[msgspec.Raw]
    atomic: bool = False
    receipts: ReceiptForm = "text"


_command: Final = msgspec.json.Decoder(_Any, float_hook=WrittenNumber)
_commands: Final = msgspec.json.Decoder(_Commands, float_hook=WrittenNumber)
_loose_commands: Final = msgspec.json.Decoder(_LooseCommands)
_events: Final = msgspec.json.Decoder(_Events)
_report: Final = decoder_of_body(ReportRequest)


def check_batch(commands: int) -> None:
    """Raise ``TooLarge`` if a batch has too many commands."""
    if commands > BATCH_COMMANDS_MAX:
        raise TooLarge("commands", f"at most {BATCH_COMMANDS_MAX} commands", got=str(commands))


def decode_events(payload: bytes) -> list[CommandBody | InvalidRequest] | None:
    """Return the events of a ``report`` of many, ``None`` for a report of one. Raises ``InvalidRequest``."""
    if b'"events"' not in payload:
        return None
    try:
        events = _events.decode(payload).events
    except UNDECODABLE as error:
        # This is a single event with the word in its dimensions or key: leave it to its own decoder.
        if "unknown field" in str(error) or "missing required field" in str(error):
            return None
        raise explain(error) from None
    check_batch(len(events))
    return [_decode_one(_report, raw) for raw in events]


def decode_batch(payload: bytes) -> Batch:
    """Return the commands of a batch. Raises ``InvalidRequest``, ``TooLarge``."""
    try:
        batch = _commands.decode(payload)
    except UNDECODABLE:
        # At least one command is bad. Decoding one by one finds it, but is slow, so check their number first.
        loose = decode_body(_loose_commands, payload)
        check_batch(len(loose.commands))
        return Batch([_decode_one(_command, raw) for raw in loose.commands], loose.atomic, loose.receipts)
    check_batch(len(batch.commands))
    return Batch(batch.commands, batch.atomic, batch.receipts)


def decode_command(line: bytes) -> CommandBody | InvalidRequest:
    """Return one command of a stream, which names its operation itself, or what is wrong with it."""
    decoded: CommandBody | InvalidRequest = _decode_one(_command, msgspec.Raw(line))
    return decoded


def decode_event(line: bytes) -> CommandBody | InvalidRequest:
    """Return one usage event of a stream, or what is wrong with it."""
    decoded: CommandBody | InvalidRequest = _decode_one(_report, msgspec.Raw(line))
    return decoded


def _decode_one(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw) -> Any:
    try:
        return decode_body(decoder, bytes(raw))
    except InvalidRequest as invalid:
        return invalid
