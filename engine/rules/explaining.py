"""The error for each refusal of a pool, with the numbers that callers need."""

from __future__ import annotations

from typing import Final, assert_never

from solvent.engine.values.amounts import format_amount, to_decimal
from solvent.engine.values.errors import (
    BudgetExceeded,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    SolventError,
    StateConflict,
)
from solvent.engine.values.times import to_datetime

from .outcomes import Conflict, EntryName, Insufficient, KeyTaken, OverBudget, Refusal, Unfit, UnknownEntry, UnknownPool

LETTERS: Final[dict[EntryName, str]] = {"grant": "g", "hold": "h", "debit": "d", "recharge": "q"}
"""The letter of the ids of each kind of entry."""


def explain(refusal: Refusal, *, pool: str, scale: int) -> SolventError:
    """Return the error for a refusal of ``pool``, with amounts in credits instead of units."""
    match refusal:
        case Insufficient(requested, available, covered, reset):
            return InsufficientCredits(
                requested=to_decimal(requested, scale),
                available=to_decimal(available, scale),
                top_up=to_decimal(requested - covered - available, scale),
                covered=to_decimal(covered, scale) if covered else None,
                resets_at=None if reset is None else to_datetime(reset.at),
                allowance=None if reset is None else reset.allowance,
                dimension=None if reset is None else reset.dimension,
                value=None if reset is None else reset.value,
                pool=pool,
            )
        case OverBudget(stop):
            counted = scale if stop.counts == "credits" else 0
            return BudgetExceeded(
                budget=stop.budget,
                limit=to_decimal(stop.limit, counted),
                used=to_decimal(stop.used, counted),
                resets_at=None if stop.resets_at is None else to_datetime(stop.resets_at),
                value=stop.value,
                counts=stop.counts,
                requested=to_decimal(stop.requested, counted),
                pool=pool,
            )
        case UnknownPool():
            return NotFound("pool", pool)
        case UnknownEntry(what, number):
            return NotFound(what, f"{LETTERS[what]}{number} of {pool}")
        case Conflict(reason, message):
            return StateConflict(reason, f"{message} (pool {pool})")
        case KeyTaken(key, version):
            return IdempotencyConflict(key=key, version=version, pool=pool)
        case Unfit(field, expected, most):
            if most is not None:
                expected = expected.replace("{}", format_amount(most, scale), 1)
            return InvalidRequest(field, f"{expected} (pool {pool})")
    assert_never(refusal)
