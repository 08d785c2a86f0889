"""What is found in usage: how it differs from another period, what stands out, when a pool runs dry."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Group, RenderableType

from solvent.engine.api.usage_answers import Forecast, GroupValue, UsageComparison, UsageSpike, UsageSpikes
from solvent.engine.values.moments import written
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT
from solvent.transports.cli.render.cells import amount, named_rows
from solvent.transports.cli.render.visible import visible
from solvent.transports.cli.terminal import Text

from .columns import Words, add_group_columns, bare_table, first_lines, group_cells, titled, total_cells
from .text import bucket_name, field_text, local, range_text, whose


def comparison(answer: UsageComparison) -> RenderableType:
    """One period beside another."""
    question, total = answer.question, answer.total
    fields, zone = question.group_by, question.time_zone
    title = (
        f"Usage of {whose(question)}, {range_text(answer.start, answer.end, zone)}, "
        f"against {range_text(answer.before_start, answer.before_end, zone)}"
    )
    table = bare_table()
    add_group_columns(table, fields)
    for head in ("before", "now", "change", "%"):
        table.add_column(head, justify="right", no_wrap=True)
    lines = [(group_cells(each.group, fields, other=each.other), each) for each in first_lines(answer.changes)]
    if fields:
        for cells, each in lines:
            table.add_row(*cells, amount(each.before), amount(each.credits), *_change_cells(each.change, each.relative))
        table.add_section()
    change = _change_cells(total.change, total.relative)
    table.add_row(*total_cells(fields), amount(total.before), amount(total.credits), *change, style="bold")
    return titled(title, table, len(answer.changes), "groups")


def _change_cells(change: Decimal, relative: Decimal | None) -> tuple[Text, Text]:
    style = "red" if change > 0 else "green" if change < 0 else ""
    share = ("new" if change else "") if relative is None else f"{float(100 * relative):+,.1f} %"
    return Text(_signed(change), style), Text(share, style)


def spikes(answer: UsageSpikes) -> RenderableType:
    """What stands out, and how to see what is behind the first of it."""
    question = answer.usage.question
    fields, zone, window = question.group_by, question.time_zone, question.window or ""
    title = f"Spikes of {whose(question)}, {range_text(answer.start, answer.usage.end, zone)}"
    if not answer.spikes:
        return Group(Text(title, "bold"), Text("nothing stands out"))
    table = bare_table()
    table.add_column(f"{window} ({zone})", no_wrap=True)
    add_group_columns(table, fields)
    for head in ("credits", "expected", "score"):
        table.add_column(head, justify="right", no_wrap=True)
    for spike in answer.spikes:
        table.add_row(
            bucket_name(spike.line.start, window, zone),
            *group_cells(spike.line.group, fields, other=spike.line.other),
            amount(spike.line.credits),
            amount(spike.expected),
            f"{spike.score:,.1f}",
        )
    hints = (entries_command(answer, spike) for spike in answer.spikes)
    hint = next(filter(None, hints), None)
    return Group(Text(title, "bold"), table, *([] if hint is None else [Words("entries behind it:", hint)]))


def entries_command(answer: UsageSpikes, spike: UsageSpike) -> list[str] | None:
    """The command that prints the entries behind a spike; ``None`` if no command line can say which."""
    usage, line = answer.usage, spike.line
    question = usage.question
    if line.other:
        return None
    words = ["solvent", "usage", *([question.pool] if question.pool is not None else []), "--entries"]
    if question.customer is not None:
        words += ["--customer", question.customer]
    if question.pool is None and question.environment != ENVIRONMENT_DEFAULT:
        words += ["--environment", question.environment]
    if question.pool is None and question.currency != CURRENCY_DEFAULT:
        words += ["--in", question.currency]
    # Of the first and the last bucket, only what lies inside the range is counted.
    words += ["--start", written(max(line.start, usage.start)), "--end", written(min(line.end, usage.end))]
    wanted: list[tuple[str, str, GroupValue]] = [("=", name, value) for name, value in line.group.items()]
    for each in question.filters:
        name, op = str(each["field"]), str(each.get("op", "="))
        if op in ("=", "in", "missing") and name in line.group:
            continue  # The group says which of them it is, and would be one more to choose from.
        values = [each["value"]] if "value" in each else list(each.get("values") or [None])
        wanted += [("=" if op in ("in", "missing") else op, name, value) for value in values]
    for op, name, value in wanted:
        words += _filter_words(op, name, value)
        if not all(map(_can_be_typed, (name, value))) or (value is not None and ("=" in name or name.endswith(":"))):
            return None
    return words


def _filter_words(op: str, name: str, value: GroupValue) -> list[str]:
    if value is None:
        return ["--missing", name]
    option = {"=": "--where", "not in": "--where-not", "prefix": "--prefix"}[op]
    return [option, f"{name}={value}" if isinstance(value, str) else f"{name}:={field_text(value)}"]


def _can_be_typed(value: GroupValue) -> bool:
    return not isinstance(value, str) or visible(value) == value


def forecast(answer: Forecast, zone: str) -> RenderableType:
    """When a pool runs dry."""
    lines = named_rows()
    lines.add_row("available", amount(answer.available))
    lines.add_row("used per day", amount(answer.per_day))
    lines.add_row("at the rate of", range_text(answer.start, answer.end, zone))
    never = "nothing is being used" if not answer.per_day else "not within ten years"
    dry = never if answer.runs_dry_at is None else f"{local(answer.runs_dry_at, zone)} ({zone})"
    lines.add_row("runs dry", Text(dry, "" if answer.runs_dry_at is None else "yellow"))
    lines.add_row("expires unused", amount(answer.expiring))
    lines.add_row("assumption", answer.assumption)
    return Group(Text(f"Forecast for {answer.pool}, at version {answer.version}", "bold"), lines)


def _signed(value: Decimal) -> str:
    return f"{'+' if value > 0 else ''}{amount(value)}"
