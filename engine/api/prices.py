"""Rate cards, and the estimated price of a usage event."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from solvent.engine.values.readable import Readable

from .verdicts import Verdict


class RateView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One rate of a card: ``credits`` for each ``per`` of a metric."""

    metric: str
    """The metric that is priced."""
    match: dict[str, str | int | float | bool]
    """The dimensions that a usage event must have for this rate; empty for any."""
    credits: str
    """The price in credits, as decimal text."""
    per: str
    """The quantity that costs ``credits``, as decimal text."""


class CardView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A version of a currency's rate card."""

    number: int
    """The version of the card, counted from 1. A receipt has it as ``card``."""
    currency: str
    effective_at: datetime
    """The time from which the card prices usage."""
    rates: tuple[RateView, ...]
    """The rates that are on this page."""
    first_rate: int = 0
    """The place of the first of them on the card; above 0 if the page before ends within the card."""


class CardList(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of the versions of a currency's rate card, in the order in which they were set."""

    cards: tuple[CardView, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class Estimate(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The price of a usage event by the rate card in effect, and whether the pool would allow it."""

    amount: Decimal
    """The price in credits."""
    card: int
    """The version of the rate card."""
    rate: RateView
    """The rate that matches."""
    verdict: Verdict | None
    """Whether a debit of the price would be allowed; ``None`` if the price is 0, which is always allowed."""
