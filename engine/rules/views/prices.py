"""Rate cards as answers show them."""

from __future__ import annotations

from solvent.engine.api.prices import CardList, CardView, RateView
from solvent.engine.rules.commands import Page
from solvent.engine.rules.rates import Rate, RateBook
from solvent.engine.values.times import to_datetime


def cards_of(book: RateBook, page: Page) -> CardList:
    """Return a page of the rate cards of ``book``, in the order in which they were set, with so many rates in all."""
    begins, first = page.after or (0, 0)
    room = page.limit
    cards: list[CardView] = []
    for version in book.versions:
        if version.number < begins:
            continue
        if not room:
            return CardList(tuple(cards), page.cursor(True, (version.number, 0)))
        first = first if version.number == begins else 0
        rates = version.card.rates[first : first + room]
        cards.append(
            CardView(
                number=version.number,
                currency=version.card.currency,
                effective_at=to_datetime(version.effective_at_us),
                rates=tuple(map(rate_view, rates)),
                first_rate=first,
            )
        )
        room -= len(rates)
        if first + len(rates) < len(version.card.rates):
            return CardList(tuple(cards), page.cursor(True, (version.number, first + len(rates))))
    return CardList(tuple(cards))


def rate_view(rate: Rate) -> RateView:
    """Return one rate."""
    return RateView(metric=rate.metric, match=dict(rate.match), credits=rate.credits, per=rate.per)
