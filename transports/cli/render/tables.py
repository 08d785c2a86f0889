"""Answers as tables and bars, for people. Programs use ``--json``.

Amounts are shown exactly, with thousands separated; bars are drawn from them and round to a character. Ids, names and
dimensions come from outside and are put in as ``Text``, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from solvent.engine.api.balances import Balance, CustomerTotals, GrantList, GrantView, HoldList, PoolPage
from solvent.engine.api.ledger import CostReport, LedgerEntry, LedgerPage
from solvent.engine.api.prices import CardList, Estimate, RateView
from solvent.engine.api.receipts import Coverage, Receipt
from solvent.engine.api.settings import BudgetCount, BudgetList
from solvent.engine.api.verdicts import StopView, Verdict
from solvent.engine.values.pool_id import parse_pool

BAR_CHARS: Final = 60
BAR_CHARS_SMALL: Final = 24
BAR_CHARS_BUDGET: Final = 12


class Part(NamedTuple):
    """A place where granted credits are: its field of a balance, and how it is drawn with and without colour."""

    name: str
    colour: str
    mark: str


PARTS: Final = (
    Part("available", "green", "█"),
    Part("held", "yellow", "▓"),
    Part("spent", "blue", "▒"),
    Part("expired", "bright_black", "░"),
    Part("voided", "red", "×"),
    Part("moved_out", "magenta", "→"),
)
_STATE_STYLE: Final[Mapping[str, str]] = {
    "active": "green",
    "pending": "cyan",
    "depleted": "blue",
    "expired": "bright_black",
    "voided": "red",
}


def amount(value: Decimal) -> str:
    """Decimal text with thousands separated: exact, without superfluous zeros."""
    return _shortest(f"{value:,f}")


def plain_amount(value: Decimal) -> str:
    """Decimal text as programs read it: exact, without superfluous zeros."""
    return _shortest(f"{value:f}")


def _shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def moment(value: datetime | None, *, none: str = "never") -> str:
    """A time in UTC, to the second; the JSON answer has the microseconds."""
    return none if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def pool_name(canonical: str) -> str:
    """The written form of a pool, without defaults."""
    return str(parse_pool(canonical))


def split_bar(values: Sequence[Decimal], chars: int) -> list[int]:
    """Divide ``chars`` over ``values`` in proportion, by largest remainder; what is above zero gets at least one.

    The sum is ``chars``, or 0 if all values are zero. ``len(values) <= chars``.
    """
    total = sum(values, Decimal(0))
    if not total:
        return [0] * len(values)
    exact = [value * chars / total for value in values]
    cells = [max(int(share), 1 if share else 0) for share in exact]
    while (difference := chars - sum(cells)) != 0:
        step = 1 if difference > 0 else -1
        candidates = [place for place, share in enumerate(exact) if share and cells[place] + step >= 1]
        furthest = max(candidates, key=lambda place: step * (exact[place] - cells[place]))
        cells[furthest] += step
    return cells


def granted_bar(balance: Balance, chars: int) -> Text:
    """Where the granted credits are, as one bar of ``chars`` characters."""
    values = [getattr(balance, part.name) for part in PARTS]
    cells = split_bar(values, chars)
    if not any(cells):
        return Text("·" * chars, style="bright_black")
    return Text.assemble(*((part.mark * count, part.colour) for part, count in zip(PARTS, cells, strict=True) if count))


def receipt(kind: str, pool: str, answer: Receipt, key: str | None) -> RenderableType:
    """A command that stands."""
    before = "already so, nothing was to change" if not answer.id else "already done before, with the same key"
    done = before if answer.replayed else f"{kind} recorded"
    lines = named_rows()
    lines.add_row("pool", Text(pool))
    if answer.id:
        lines.add_row(kind, Text(answer.id))
    if answer.amount:
        lines.add_row("amount", amount(answer.amount))
    if answer.covered:
        lines.add_row("covered", amount(answer.covered))
    lines.add_row("balance after", amount(answer.balance))
    lines.add_row("version", str(answer.version))
    lines.add_row("recorded at", f"{moment(answer.recorded_at)} UTC")
    if key is not None:
        lines.add_row("key", Text(key))
    for name, about in (("of hold", answer.hold), ("of debit", answer.debit)):
        if about is not None:
            lines.add_row(name, about)
    if answer.expires_at is not None:
        lines.add_row("expires at", f"{moment(answer.expires_at)} UTC")
    for name, part in (("returned", answer.returned), ("lapsed", answer.lapsed), ("uncovered", answer.uncovered)):
        if part:
            lines.add_row(name, amount(part))
    if answer.card is not None:
        lines.add_row("rate card", str(answer.card))
    for warning in answer.warnings:
        lines.add_row("over budget", Text(warning, "yellow"))
    _add_covered(lines, answer.allowances)
    for allocation in answer.allocations:
        lines.add_row(f"{'to' if answer.id.startswith('r') else 'from'} {allocation.grant}", amount(allocation.amount))
    return Group(Text.assemble(("✓ ", "green"), done), lines)


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


def verdict(answer: Verdict) -> RenderableType:
    """Whether credits could be spent."""
    lines = named_rows()
    lines.add_row("pool", Text(pool_name(answer.pool)))
    lines.add_row("asked for", amount(answer.requested))
    lines.add_row("at most", amount(answer.available))
    if answer.top_up:
        lines.add_row("missing", amount(answer.top_up))
    if (stop := answer.stopped_by) is not None:
        lines.add_row("stopped by", Text(_stop(stop)))
    if (reset := answer.reset) is not None:
        whose = reset.allowance if reset.dimension is None else f"{reset.allowance} of {reset.dimension} {reset.value}"
        lines.add_row("allowance resets", Text(f"{whose}, {moment(reset.resets_at)} UTC"))
    for budget in answer.warnings:
        lines.add_row("warning", Text(f"budget {budget} would be exceeded"))
    _add_covered(lines, answer.covered)
    for part in answer.allocations:
        lines.add_row(f"from {part.grant}", amount(part.amount))
    answered = ("✓ it may be spent", "green") if answer.allowed else ("✗ it may not be spent", "red")
    return Group(Text.assemble(answered), lines)


def _add_covered(lines: Table, covered: Sequence[Coverage]) -> None:
    for part in covered:
        lines.add_row(Text(f"by {part.allowance}"), amount(part.amount))


def _stop(stop: StopView) -> str:
    whose = stop.budget if stop.value is None else f"{stop.budget} of {stop.value}"
    until = "" if stop.resets_at is None else f", until {moment(stop.resets_at)} UTC"
    return f"budget {whose}: {amount(stop.used)} of {amount(stop.limit)} {stop.counts} used{until}"


def budgets(answer: BudgetList) -> RenderableType:
    """The budgets of a pool, a line for each value that counts on its own."""
    table = titled_table(f"Budgets of {pool_name(answer.pool)}")
    for name in ("budget", "for", "window"):
        table.add_column(name, overflow="fold")
    table.add_column("used", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("open holds", justify="right")
    table.add_column("resets (UTC)")
    for budget in answer.budgets:
        window = budget.window if budget.time_zone == "UTC" else f"{budget.window}, {budget.time_zone}"
        for count in budget.counts or (BudgetCount(value=None, used=Decimal(0), open_holds=0),):
            own = {} if count.value is None or budget.each is None else {budget.each: count.value}
            whom = dimensions({**budget.match, **own}) or (f"each {budget.each}" if budget.each else "all")
            most = "" if budget.holds_max is None else f" of {budget.holds_max}"
            filled = min(BAR_CHARS_BUDGET, int(BAR_CHARS_BUDGET * count.used / budget.amount))
            style = "red" if count.used >= budget.amount else "green"
            table.add_row(
                Text(budget.name + (" (warns)" if budget.mode == "warn" else "")),
                Text(whom),
                window,
                amount(count.used),
                amount(budget.amount),
                Text("█" * filled, style) + Text("░" * (BAR_CHARS_BUDGET - filled), "bright_black"),
                f"{count.open_holds}{most}" if count.open_holds or most else "",
                moment(budget.resets_at),
            )
    return table


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
            str(card.number), moment(card.effective_at), Text("\n".join(map(_rate, card.rates)) or "nothing is priced")
        )
    return table


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
    return Group(table, *_next_page(answer.next_cursor))


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
    return Group(table, marks, *_next_page(answer.next_cursor))


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


def dimensions(values: Mapping[str, str | int | float | bool]) -> str:
    """Dimensions as they are typed on the command line."""
    return " ".join(f"{name}={value}" for name, value in values.items())


def _what(entry: LedgerEntry) -> str:
    metered = "" if entry.metric is None else f"{entry.quantity or ''} {entry.metric}"
    about = "" if entry.about is None else f"of {entry.about}"
    free = " ".join(f"{amount(part.amount)} by {part.allowance}" for part in entry.covered)
    return " ".join(part for part in (about, metered.strip(), dimensions(entry.dimensions), free) if part)


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


def _next_page(cursor: str | None) -> list[Text]:
    return [] if cursor is None else [Text(f"more: --cursor {cursor}", style="bright_black")]


def titled_table(title: str) -> Table:
    """A table that has no columns yet, under its title."""
    return Table(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def named_rows() -> Table:
    """A table of two columns that have no heads: what it is, and its value."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bright_black")
    table.add_column()
    return table
