"""Rate cards, and what a usage event would cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from solvent.engine.values.readable import Readable

from .verdicts import Verdict


class RateView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """``credits`` per ``per`` of a metric, where the dimensions match. Decimal text."""

    metric: str
    match: dict[str, str | int | float | bool]
    credits: str
    per: str


class CardView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A version of a currency's rate card, and from when on it prices what occurs."""

    number: int
    currency: str
    effective_at: datetime
    rates: tuple[RateView, ...]


class CardList(Readable, msgspec.Struct, frozen=True, gc=False):
    """All versions of a currency's rate card, in the order in which they were set."""

    cards: tuple[CardView, ...]


class Estimate(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a usage event would cost by the rate card in effect, and whether it would be allowed."""

    amount: Decimal
    card: int
    rate: RateView
    verdict: Verdict | None
    """``None`` if it costs nothing: that is always allowed."""
