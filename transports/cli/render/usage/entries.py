"""The ledger entries behind an answer about usage, and the state of the usage file."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType

from solvent.engine.api.ledger import LedgerEntry
from solvent.engine.api.usage_answers import Usage, UsageEntryPage, UsageStatus
from solvent.engine.values.moments import written
from solvent.transports.cli.render.cells import amount, dimensions, named_rows
from solvent.transports.cli.terminal import Text

from .columns import Words, bare_table
from .text import local, range_text, told_apart, whose


def entries(usage: Usage, page: UsageEntryPage) -> RenderableType:
    """A page of the ledger entries behind an answer."""
    question = usage.question
    zone = question.time_zone
    table = bare_table()
    table.add_column(f"occurred ({zone})", no_wrap=True)
    if question.pool is None:
        table.add_column("pool", overflow="fold")
    table.add_column("entry", no_wrap=True)
    table.add_column("credits", justify="right", no_wrap=True)
    for head in ("key", "what"):
        table.add_column(head, overflow="fold")
    for each in page.entries:
        table.add_row(
            local(each.entry.occurred_at, zone),
            *([Text(each.pool)] if question.pool is None else []),
            f"{each.entry.kind} {each.entry.id}",
            amount(each.credits),
            Text(told_apart(each.entry.key or "")),
            Text(_what(each.entry)),
        )
    title = Text(f"Entries behind the usage of {whose(question)}, {range_text(usage.start, usage.end, zone)}", "bold")
    if page.next_cursor is None:
        return Group(title, table)
    # Of a range such as "last 7 days", the next page would be one of another question.
    words = ("--start", written(usage.start), "--end", written(usage.end), "--cursor", page.next_cursor)
    return Group(title, table, Words("more:", words))


def _what(entry: LedgerEntry) -> str:
    parts: Iterable[str] = (
        "" if entry.about is None else f"of {entry.about}",
        ""
        if entry.metric is None and entry.quantity is None
        else f"{entry.quantity or ''} {entry.metric or ''}".strip(),
        *(dimensions({name: value}) for name, value in entry.dimensions.items()),
    )
    return " ".join(told_apart(part) for part in parts if part)


def status(answer: UsageStatus) -> RenderableType:
    """The usage file after it was made again."""
    lines = named_rows()
    lines.add_row("frames", f"{answer.position:,}")
    lines.add_row("in the journal", f"{answer.journal:,}")
    return Group(Text.assemble(("✓ ", "green"), "usage was made again from the journal"), lines)
