"""A pool's history, and what became of its credits by what they had cost."""

from __future__ import annotations

from rich.console import Group, RenderableType

from solvent.engine.api.ledger import CostReport, LedgerEntry, LedgerPage
from solvent.transports.cli.terminal import Text

from .cells import amount, dimensions, moment, next_page, pool_name, titled_table


def costs(answer: CostReport) -> RenderableType:
    """What became of credits, by what they had cost."""
    since = "" if answer.start is None else f" from {moment(answer.start)}"
    until = "" if answer.end is None else f" before {moment(answer.end)}"
    table = titled_table(f"Credits of {pool_name(answer.pool)} by cost{since}{until}")
    table.add_column("cost of a credit")
    table.add_column("category")
    for name in ("burned", "expired", "voided", "value of what was burned"):
        table.add_column(name, justify="right")
    for line in answer.lines:
        cost = line.cost_basis
        table.add_row(
            "none" if cost is None else f"{cost['per_credit']} {cost['currency']}",
            line.category,
            amount(line.burned),
            amount(line.expired),
            amount(line.voided),
            "" if cost is None or line.value is None else f"{amount(line.value)} {cost['currency']}",
        )
    return table


def ledger(answer: LedgerPage) -> RenderableType:
    """A page of a pool's history."""
    table = titled_table(f"Ledger of {pool_name(answer.pool)}, at version {answer.version}")
    table.add_column("version", justify="right")
    table.add_column("recorded (UTC)", no_wrap=True)
    table.add_column("entry")
    table.add_column("change", justify="right")
    table.add_column("balance", justify="right")
    table.add_column("key", overflow="fold")
    table.add_column("what", overflow="fold")
    for entry in answer.entries:
        style = "green" if entry.change > 0 else "red" if entry.change < 0 else ""
        table.add_row(
            str(entry.version),
            moment(entry.recorded_at),
            f"{entry.kind} {entry.id}" if entry.id else entry.kind,
            Text(f"{'+' if entry.change > 0 else ''}{amount(entry.change)}", style),
            amount(entry.balance),
            Text(entry.key or ""),
            Text(_what(entry)),
        )
    return Group(table, *next_page(answer.next_cursor))


def _what(entry: LedgerEntry) -> str:
    metered = "" if entry.metric is None else f"{entry.quantity or ''} {entry.metric}"
    about = "" if entry.about is None else f"of {entry.about}"
    free = " ".join(f"{amount(part.amount)} by {part.allowance}" for part in entry.covered)
    return " ".join(part for part in (about, metered.strip(), dimensions(entry.dimensions), free) if part)
