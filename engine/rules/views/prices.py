"""Rate cards as answers show them."""

from __future__ import annotations

from solvent.engine.api.prices import CardList, CardView, RateView
from solvent.engine.rules.rates import Rate, RateBook
from solvent.engine.values.times import to_datetime


def cards_of(book: RateBook) -> CardList:
    """Return the rate cards of ``book``, in the order in which they were set."""
    return CardList(
        tuple(
            CardView(
                number=version.number,
                currency=version.card.currency,
                effective_at=to_datetime(version.effective_at_us),
                rates=tuple(map(rate_view, version.card.rates)),
            )
            for version in book.versions
        )
    )


def rate_view(rate: Rate) -> RateView:
    """Return one rate."""
    return RateView(metric=rate.metric, match=dict(rate.match), credits=rate.credits, per=rate.per)
