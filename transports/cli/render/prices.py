"""Rate cards, and what a usage event would cost by them."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Group, RenderableType

from solvent.engine.api.prices import CardList, Estimate, RateView
from solvent.transports.cli.terminal import Text

from .cells import amount, dimensions, moment, named_rows, titled_table
from .receipts import verdict


def _rate(rate: RateView) -> str:
    per = "" if rate.per == "1" else f" per {amount(Decimal(rate.per))}"
    where = f" where {dimensions(rate.match)}" if rate.match else ""
    return f"{rate.credits}{per} {rate.metric}{where}"


def estimate(answer: Estimate) -> RenderableType:
    """What a usage event would cost."""
    lines = named_rows()
    lines.add_row("costs", amount(answer.amount))
    lines.add_row("rate", Text(f"{_rate(answer.rate)} (card {answer.card})"))
    return lines if answer.verdict is None else Group(lines, verdict(answer.verdict))


def cards(answer: CardList) -> RenderableType:
    """The versions of a rate card."""
    table = titled_table("Rate cards")
    table.add_column("card", justify="right")
    table.add_column("from (UTC)", no_wrap=True)
    table.add_column("credits")
    for card in answer.cards:
        table.add_row(
            str(card.number),
            moment(card.effective_at),
            Group(*(Text(_rate(rate)) for rate in card.rates)) if card.rates else "nothing is priced",
        )
    return table
