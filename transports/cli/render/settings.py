"""What is set for a pool: budgets, allowances, recurring grants and alerts."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rich.console import Group, RenderableType

from solvent.engine.api.settings import (
    AlertsView,
    AllowanceCount,
    AllowanceCounts,
    AllowanceList,
    AllowanceView,
    BudgetCount,
    BudgetCounts,
    BudgetList,
    RechargeRule,
    RecurringList,
    RecurringView,
)
from solvent.transports.cli.terminal import Text

from .bars import quota_bar
from .cells import amount, dimensions, moment, named_rows, pool_name, titled_table
from .visible import visible

_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(seconds: int) -> str:
    """A length of time in the largest unit of which it is a whole number."""
    return next(f"{seconds // unit} {name}" for unit, name in _SPANS if seconds % unit == 0)


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
            table.add_row(
                Text(budget.name + (" (warns)" if budget.mode == "warn" else "")),
                Text(whom),
                window,
                amount(count.used),
                amount(budget.amount),
                quota_bar(count.used, budget.amount, "red" if count.used >= budget.amount else "green"),
                f"{count.open_holds}{most}" if count.open_holds or most else "",
                moment(budget.resets_at),
            )
    return table


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
            table.add_row(
                Text(allowance.name),
                Text(_covers(allowance, count)),
                Text(_window(allowance)),
                amount(used),
                Text(f"{amount(allowance.amount)} {allowance.metric or 'credits'}"),
                quota_bar(used, allowance.amount, "green" if left else "red"),
                amount(left),
                "" if count is None else moment(count.resets_at),
            )
    return table


def budget_counts(answer: BudgetCounts) -> RenderableType:
    """What each value of a budget's dimension used."""
    table = titled_table(f"Budget {visible(answer.budget)} of {pool_name(answer.pool)}")
    table.add_column("value", overflow="fold")
    for name in ("used", "open holds"):
        table.add_column(name, justify="right")
    for count in answer.counts:
        table.add_row(_value(count.value), amount(count.used), str(count.open_holds))
    return table


def allowance_counts(answer: AllowanceCounts) -> RenderableType:
    """What each value of an allowance's dimension has used, and has left."""
    table = titled_table(f"Allowance {visible(answer.allowance)} of {pool_name(answer.pool)}")
    table.add_column("value", overflow="fold")
    for name in ("used", "left"):
        table.add_column(name, justify="right")
    table.add_column("resets (UTC)", no_wrap=True)
    for count in answer.counts:
        table.add_row(_value(count.value), amount(count.used), amount(count.left), moment(count.resets_at))
    return table


def _value(value: str | int | float | bool | None) -> Text:
    if value is None:
        return Text("all")
    return Text(str(value).lower() if isinstance(value, bool) else str(value))


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
