"""Receipts of commands, and verdicts on what might be spent."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from solvent.engine.api.receipts import Coverage, Receipt
from solvent.engine.api.verdicts import StopView, Verdict
from solvent.transports.cli.terminal import Text

from .cells import amount, moment, named_rows, pool_name


def receipt(kind: str, pool: str, answer: Receipt, key: str | None) -> RenderableType:
    """A command that stands."""
    before = "already so, nothing was to change" if not answer.id else "already done before, with the same key"
    done = before if answer.replayed else f"{kind} recorded"
    lines = named_rows()
    lines.add_row("pool", Text(pool))
    if answer.id:
        lines.add_row(kind, Text(answer.id))
    if answer.amount and not answer.granted:
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
    if answer.stopped_by is not None:
        until = "" if answer.resets_at is None else f", until {moment(answer.resets_at)} UTC"
        lines.add_row("stopped by", Text(f"{answer.stopped_by}{until}", "yellow"))
    if answer.opened_pool:
        lines.add_row("opened", Text("a pool that did not exist before"))
    if answer.state is not None and (answer.replayed or answer.state != "open"):
        by = "" if answer.settlement is None else f", by {answer.settlement.entry}"
        lines.add_row("state", Text(f"{answer.state}{by}"))
    if (settled := answer.settlement) is not None:
        for name in ("captured", "returned", "lapsed", "uncovered"):
            if part := getattr(settled, name):
                lines.add_row(f"of it {name}", amount(part))
    if answer.granted:
        lines.add_row("granted", amount(answer.granted))
    if answer.next_at is not None:
        lines.add_row("next grant", f"{moment(answer.next_at)} UTC")
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
