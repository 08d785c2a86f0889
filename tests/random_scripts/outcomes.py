"""What the random scripts must meet: everything that a pool can answer, and the branches of the rules worth a test.

What a pool can answer is taken from the types of the rules, so that a new event, refusal or reason is asked for as soon
as it exists. Branches are named by the model where it takes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_type_hints

from solvent.engine.rules.alerts import AlertKind
from solvent.engine.rules.budgets import Stop
from solvent.engine.rules.commands import PoolCommand, SettingCommand
from solvent.engine.rules.events import Event
from solvent.engine.rules.outcomes import (
    Conflict,
    ConflictReason,
    EntryName,
    OverBudget,
    Refusal,
    Repeat,
    Unchanged,
    Unfit,
    UnfitField,
    UnknownEntry,
)
from tests.model.branches import Branch

OF_STREAMS = {
    *("RatesSet", "OutboxMoved"),
    *("asked: SetRates", "asked: MoveOutbox"),
    *("Conflict: too_many_rate_cards", "Unfit: effective_at"),
}
"""What happens only in streams that are no pools: rate cards (tests/rules/test_rates.py) and the outbox."""
DETAILS: Mapping[type[Any], tuple[Any, ...]] = {
    Conflict: get_args(ConflictReason),
    UnknownEntry: get_args(EntryName),
    Unfit: get_args(UnfitField),
    OverBudget: get_args(get_type_hints(Stop)["counts"]),
}
"""Refusals of several kinds: each kind has to be met."""


def missing(met: Counter[str], expected: Iterable[str] | None = None) -> list[str]:
    """Return what was never met, of all that the scripts must meet."""
    wanted = {*answers(), *get_args(Branch)} if expected is None else set(expected)
    return sorted(wanted - OF_STREAMS - {name for name, count in met.items() if count})


def answers(
    events: tuple[Any, ...] = get_args(Event),
    refusals: tuple[Any, ...] = get_args(Refusal),
    commands: tuple[Any, ...] = (*get_args(PoolCommand), *get_args(SettingCommand)),
) -> Iterator[str]:
    """Yield everything that a pool can be asked and can answer, as the types have it."""
    yield from (f"asked: {command.__name__}" for command in commands)
    yield from (event.__name__ for event in events if event.__name__ != "Alerted")
    yield from (f"Alerted: {kind}" for kind in get_args(AlertKind))
    for refusal in (*refusals, Repeat, Unchanged):
        details = DETAILS.get(refusal)
        yield from [refusal.__name__] if details is None else [f"{refusal.__name__}: {each}" for each in details]
