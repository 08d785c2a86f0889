"""What the model and the engine are compared by: lines of the journal and reasons of refusals, as plain values.

The model writes lines. What the engine decides is turned into the same: every field of every event is compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from solvent.engine.rules.allowances import Cover
from solvent.engine.rules.budgets import Charge
from solvent.engine.rules.commands import PoolCommand, SettingCommand
from solvent.engine.rules.events import Event, Held
from solvent.engine.rules.outcomes import (
    Conflict,
    Insufficient,
    KeyTaken,
    OverBudget,
    Refusal,
    Repeat,
    Unchanged,
    Unfit,
    UnknownEntry,
    UnknownPool,
)
from solvent.engine.rules.views.receipts import state_after

Command: TypeAlias = PoolCommand | SettingCommand
Dims: TypeAlias = dict[str, Any]
"""Dimensions, decoded."""


class Line(msgspec.Struct, frozen=True):
    """An entry of a pool's journal."""

    kind: str
    """The name of the event."""
    at: int
    balance: int
    """What is available after it."""
    about: dict[str, Any]
    """All its other fields by name."""


class Refused(Exception):
    """The model's answer to a command that adds nothing to the journal: the kind of outcome, and its numbers."""

    @property
    def words(self) -> tuple[Any, ...]:
        return self.args


def line_of(event: Event) -> Line:
    """Return an event of the engine as a line."""
    about = {name: _plain(getattr(event, name)) for name in event.__struct_fields__ if name not in ("at", "balance")}
    return Line(type(event).__name__, event.at, getattr(event, "balance", 0), about)


def _plain(value: Any) -> Any:
    if isinstance(value, (Cover, Charge)):
        return tuple(value._replace(value=_plain(value.value)))
    if isinstance(value, tuple) and value and isinstance(value[0], (Cover, Charge)):
        return tuple(map(_plain, value))
    if isinstance(value, (bytes, msgspec.Raw)):
        return msgspec.msgpack.decode(value) if bytes(value) else None
    return value


def words_of(outcome: Refusal | Repeat | Unchanged) -> tuple[Any, ...]:
    """Return what the engine answers where nothing happens, in the words of ``Refused``."""
    match outcome:
        case Repeat(event=Held(), version=version, ended=ended):
            return "Repeat", version, "open" if ended is None else state_after(ended[0])
        case Repeat(version=version) | KeyTaken(version=version):
            return type(outcome).__name__, version
        case Unchanged() | UnknownPool():
            return (type(outcome).__name__,)
        case UnknownEntry(what=what, number=number):
            return "UnknownEntry", what, number
        case Conflict(reason=reason):
            return "Conflict", reason
        case Unfit(field=name):
            return "Unfit", name
        case Insufficient(requested=requested, available=available, covered=covered, reset=reset):
            return "Insufficient", requested, available, covered, None if reset is None else reset.at
        case OverBudget(stop=stop):
            return "OverBudget", stop.counts, stop.budget, stop.used, stop.resets_at


def decoded(dimensions: msgspec.Raw) -> Dims:
    return dict(msgspec.msgpack.decode(dimensions, type=dict[str, Any]))


def passed_on(command: Any, *names: str) -> dict[str, Any]:
    """Return what a command says of ``names``, as the journal keeps it."""
    values = {name: getattr(command, name) for name in names}
    return {name: decoded(value) if isinstance(value, msgspec.Raw) else value for name, value in values.items()}


def show(lines: Iterable[Line]) -> str:
    """Return lines as text, one below the other."""
    return "".join(f"  {line.kind} at {line.at}, {line.balance} left: {line.about}\n" for line in lines)
