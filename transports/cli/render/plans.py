"""Allowances, recurring grants, alerts and events as tables and lines, for people.

The rest of the answers is in ``render.py``, whose rules hold here too: amounts are exact, names are never markup.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.api.settings import (
    AlertsView,
    AllowanceCount,
    AllowanceList,
    AllowanceView,
    RechargeRule,
    RecurringList,
    RecurringView,
)

from .tables import amount, dimensions, moment, named_rows, pool_name, titled_table

BAR_CHARS_ALLOWANCE: Final = 12
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(seconds: int) -> str:
    """A length of time in the largest unit of which it is a whole number."""
    return next(f"{seconds // unit} {name}" for unit, name in _SPANS if seconds % unit == 0)


def allowances(answer: AllowanceList) -> RenderableType:
    """The allowances of a pool, a line for each value that has a quota of its own."""
    table = titled_table(f"Allowances of {pool_name(answer.pool)}, in the order in which they cover")
    for name in ("allowance", "for", "window"):
        table.add_column(name, overflow="fold")
    for name in ("used", "of"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("left", justify="right")
    table.add_column("resets (UTC)", no_wrap=True)
    for allowance in answer.allowances:
        for count in allowance.counts or (None,):
            used, left = (Decimal(0), allowance.amount) if count is None else (count.used, count.left)
            filled = min(BAR_CHARS_ALLOWANCE, int(BAR_CHARS_ALLOWANCE * used / allowance.amount))
            table.add_row(
                Text(allowance.name),
                Text(_covers(allowance, count)),
                Text(_window(allowance)),
                amount(used),
                Text(f"{amount(allowance.amount)} {allowance.metric or 'credits'}"),
                Text("█" * filled, "green" if left else "red")
                + Text("░" * (BAR_CHARS_ALLOWANCE - filled), "bright_black"),
                amount(left),
                "" if count is None else moment(count.resets_at),
            )
    return table


def _covers(allowance: AllowanceView, count: AllowanceCount | None) -> str:
    own = {} if count is None or count.value is None or allowance.each is None else {allowance.each: count.value}
    everyone = [f"each {allowance.each}"] if allowance.each and not own else []
    return " ".join(filter(None, [dimensions({**allowance.match, **own}), *everyone])) or "all"


def _window(allowance: AllowanceView) -> str:
    if allowance.rolling_s is not None:
        return f"any {span(allowance.rolling_s)}"
    return f"{allowance.window}" if allowance.time_zone == "UTC" else f"{allowance.window}, {allowance.time_zone}"


def recurring(answer: RecurringList) -> RenderableType:
    """The recurring grants of a pool."""
    table = titled_table(f"Recurring grants of {pool_name(answer.pool)}")
    table.add_column("name", overflow="fold")
    table.add_column("amount", justify="right")
    table.add_column("every", overflow="fold")
    for name in ("next (UTC)", "ends (UTC)"):
        table.add_column(name, no_wrap=True)
    table.add_column("category")
    table.add_column("priority", justify="right")
    for name in ("cost", "rolls over", "first", "grant"):
        table.add_column(name)
    for each in answer.recurring:
        table.add_row(
            Text(each.name),
            amount(each.amount),
            Text(_rhythm(each)),
            moment(each.next_at),
            moment(each.ends_at),
            each.category,
            str(each.priority),
            Text(_cost(each.cost_basis)),
            each.roll_over if each.roll_over in ("none", "all") else f"up to {amount(Decimal(each.roll_over))}",
            "in part" if each.prorate else "in full",
            each.last_grant or "",
        )
    return table


def _rhythm(each: RecurringView) -> str:
    every = each.period if each.every == 1 else f"{each.every} {each.period}s"
    return every if each.time_zone == "UTC" else f"{every}, {each.time_zone}"


def _cost(cost_basis: dict[str, str] | None) -> str:
    return "" if cost_basis is None else f"{cost_basis['per_credit']} {cost_basis['currency']}"


def alerts(answer: AlertsView) -> RenderableType:
    """What a pool says something about, and the recharge request that is open."""
    lines = named_rows()
    lines.add_row("low", ", ".join(f"below {limit}" for limit in answer.low) or "not said")
    expiring = answer.expiring_within_s
    lines.add_row("expiring", "not said" if expiring is None else f"{span(expiring)} before a grant expires")
    percents = ", ".join(f"{percent} %" for percent in answer.budget_percents)
    lines.add_row("budgets", f"at {percents}" if percents else "not said")
    lines.add_row("recharge", "none" if answer.recharge is None else Text(_rule(answer.recharge)))
    if (request := answer.open_recharge) is not None:
        asked = f"{request.id} asks for {amount(request.amount)}, until {moment(request.until)} UTC"
        lines.add_row("open request", Text(asked, "yellow"))
    return Group(Text(f"Alerts of {pool_name(answer.pool)}", "bold"), lines)


def _rule(rule: RechargeRule) -> str:
    parts = [f"below {amount(rule.below)}, up to {amount(rule.target)}"]
    if rule.monthly_max is not None:
        where = "" if rule.time_zone == "UTC" else f" of {rule.time_zone}"
        parts.append(f"at most {amount(rule.monthly_max)} a month{where}")
    parts.append(rule.category + (f" at {_cost(rule.cost_basis)} a credit" if rule.cost_basis else ""))
    parts.append("granted by the pool itself" if rule.grants else f"each request open for {span(rule.timeout_s)}")
    return ", ".join(parts)


def events(answer: EventPage) -> RenderableType:
    """What pools have said, oldest first."""
    table = titled_table("Events")
    table.add_column("position", no_wrap=True)
    table.add_column("recorded (UTC)", no_wrap=True)
    for name in ("pool", "event", "what"):
        table.add_column(name, overflow="fold")
    table.add_column("available", justify="right")
    for event in answer.events:
        table.add_row(
            event.position,
            moment(event.recorded_at),
            Text(pool_name(event.pool)),
            event.kind,
            Text(_what(event)),
            amount(event.available),
        )
    more = [Text(f"more: --after {answer.position}", style="bright_black")] if answer.more else []
    return Group(table, *more)


def event_line(event: PoolEvent) -> str:
    """An event as one line of text, with its position at the end."""
    what = _what(event)
    said = f"{event.kind}: {what}" if what else event.kind
    return (
        f"{moment(event.recorded_at)}  {pool_name(event.pool)}  {said}, "
        f"{amount(event.available)} available  ({event.position})"
    )


def _what(event: PoolEvent) -> str:
    """What an event is about, beside the pool and what is available in it."""
    much = amount(event.amount or Decimal(0))
    match event.kind:
        case "low":
            percent = "" if event.percent is None else f" ({event.percent} %)"
            return f"below {amount(event.limit or Decimal(0))}{percent}"
        case "depleted":
            return ""
        case "expiring_soon":
            return f"{much} of {event.grant} expire {moment(event.expires_at)} UTC"
        case "budget_reached":
            whose = f"{event.budget}" if event.value is None else f"{event.budget} of {event.value}"
            return f"budget {whose}: {much} of {amount(event.limit or Decimal(0))} used ({event.percent} %)"
        case "hold_expired":
            return f"{event.hold} gave back {much}"
        case "recharge_requested" if event.granted:
            return f"{event.recharge} is granted {much} by the pool itself"
        case "recharge_requested":
            return f"{event.recharge} asks for {much}, until {moment(event.expires_at)} UTC"
        case "recharge_refused" | "recharge_timed_out":
            return f"{event.recharge} had asked for {much}"
