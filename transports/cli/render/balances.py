"""Balances of pools, and the grants and holds in them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table

from solvent.engine.api.balances import Balance, CustomerTotals, GrantList, GrantView, HoldList, PoolPage
from solvent.transports.cli.terminal import Text

from .bars import PARTS, granted_bar
from .cells import amount, dimensions, moment, next_page, pool_name, titled_table

BAR_CHARS: Final = 60
BAR_CHARS_SMALL: Final = 24
_STATE_STYLE: Final[Mapping[str, str]] = {
    "active": "green",
    "pending": "cyan",
    "depleted": "blue",
    "expired": "bright_black",
    "voided": "red",
}


def balance(answer: Balance) -> RenderableType:
    """A pool as it is, with a bar of where its granted credits went."""
    legend = Table(box=None, show_header=False, padding=(0, 1))
    legend.add_column()
    legend.add_column()
    legend.add_column(justify="right")
    legend.add_column(justify="right", style="bright_black")
    for part in PARTS:
        value: Decimal = getattr(answer, part.name)
        if value or part.name in ("available", "spent"):
            share = f"{100 * value / answer.granted:.1f} %" if answer.granted else ""
            legend.add_row(Text(part.mark, part.colour), part.name.replace("_", " "), amount(value), share)
    legend.add_row("", Text("granted", "bold"), Text(amount(answer.granted), "bold"), "")
    if answer.pending:
        legend.add_row("", "pending", amount(answer.pending), Text("not yet effective"))
    title = Text.assemble(
        (pool_name(answer.pool), "bold"), (f"   version {answer.version}, {moment(answer.as_of)} UTC", "bright_black")
    )
    return Group(title, granted_bar(answer, BAR_CHARS), legend)


def grants(answer: GrantList) -> RenderableType:
    """The grants of a pool, in the order in which they burn."""
    table = titled_table(f"Grants of {pool_name(answer.pool)}, in burn order")
    for name in ("grant", "state", "category"):
        table.add_column(name)
    for name in ("priority", "amount", "available", "spent"):
        table.add_column(name, justify="right")
    for name in ("effective (UTC)", "expires (UTC)", "name"):
        table.add_column(name)
    for grant in answer.grants:
        table.add_row(*_grant_cells(grant))
    return table


def holds(answer: HoldList) -> RenderableType:
    """The open holds of a pool."""
    table = titled_table(f"Open holds of {pool_name(answer.pool)}")
    table.add_column("hold")
    table.add_column("amount", justify="right")
    for name in ("created (UTC)", "expires (UTC)", "key", "what"):
        table.add_column(name, overflow="fold")
    for hold in answer.holds:
        what = " ".join(part for part in (hold.metric or "", dimensions(hold.dimensions)) if part)
        table.add_row(
            hold.id,
            amount(hold.amount),
            moment(hold.created_at),
            moment(hold.expires_at),
            Text(hold.key),
            Text(what),
        )
    return table


def pools(answer: PoolPage) -> RenderableType:
    """Balances side by side."""
    table = titled_table("Pools")
    table.add_column("pool")
    table.add_column("available", justify="right")
    table.add_column("spent", justify="right")
    table.add_column("granted", justify="right")
    table.add_column("where it went")
    for each in answer.pools:
        table.add_row(
            Text(pool_name(each.pool)),
            amount(each.available),
            amount(each.spent),
            amount(each.granted),
            granted_bar(each, BAR_CHARS_SMALL),
        )
    marks = Text("  ").join(Text(f"{part.mark} {part.name.replace('_', ' ')}", part.colour) for part in PARTS)
    return Group(table, marks, *next_page(answer.next_cursor))


def totals(answer: CustomerTotals) -> RenderableType:
    """What all pools of a customer hold together."""
    table = titled_table(f"Totals of {answer.customer}")
    table.add_column("currency")
    for name in ("pools", "available", "held", "spent", "expired", "voided", "moved out", "granted", "pending"):
        table.add_column(name, justify="right")
    for each in answer.totals:
        sums = (each.available, each.held, each.spent, each.expired, each.voided, each.moved_out, each.granted)
        table.add_row(Text(each.currency), str(each.pools), *map(amount, (*sums, each.pending)))
    return table


def _grant_cells(grant: GrantView) -> tuple[RenderableType, ...]:
    return (
        grant.id,
        Text(grant.state, _STATE_STYLE[grant.state]),
        grant.category,
        str(grant.priority),
        amount(grant.amount),
        amount(grant.available),
        amount(grant.spent),
        moment(grant.effective_at),
        moment(grant.expires_at),
        Text(grant.name or ""),
    )
