"""Usage as one table: its sum, a line for each group, a line for each bucket, or each group with its course."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from rich.console import Group, RenderableType

from solvent.engine.api.usage_answers import Usage, UsageLine
from solvent.transports.cli.render.cells import amount, named_rows
from solvent.transports.cli.terminal import Text

from .columns import Bar, add_group_columns, bare_table, first_lines, group_cells, titled, total_cells
from .text import DIM, bucket_name, local, range_text, share_text, told_apart, whose
from .trends import trends_table

METRICS_SHOWN_MAX: Final = 4


class _Measure(NamedTuple):
    """A column that lines fill: its head, and what it says of a line."""

    head: str
    cell: Callable[[UsageLine], str]


def _measures(total: UsageLine) -> list[_Measure]:
    """What there is to say beside credits: nothing that is nought everywhere."""
    found = [_Measure("events", lambda line: f"{line.events:,}")]
    if total.reversed:
        found.append(_Measure("reversed", lambda line: amount(line.reversed) if line.reversed else ""))
    if total.refused:
        found.append(_Measure("refused", lambda line: f"{line.refused:,}" if line.refused else ""))
    found += [_metric(name) for name in sorted(total.quantities)[:METRICS_SHOWN_MAX]]
    return found


def _metric(name: str) -> _Measure:
    def cell(line: UsageLine) -> str:
        return amount(line.quantities[name]) if name in line.quantities else ""

    return _Measure(told_apart(name) or "(no metric)", cell)


def usage(answer: Usage) -> RenderableType:
    """An answer, in the form that suits what was asked."""
    question = answer.question
    title = f"Usage of {whose(question)}, {range_text(answer.start, answer.end, question.time_zone)}"
    if not answer.lines:
        return Group(Text(title, "bold"), Text("nothing was used"))
    window = None if question.window == "total" else question.window
    if window is not None:
        shown = trends_table(answer, window, title) if question.group_by else _course(answer, window, title)
    else:
        shown = _groups(answer, title) if question.group_by else _sum(answer, title)
    left_out = len(answer.total.quantities) - METRICS_SHOWN_MAX
    return shown if left_out <= 0 else Group(shown, Text(f"and {left_out} more metrics: --json has all", DIM))


def _sum(answer: Usage, title: str) -> RenderableType:
    zone, total = answer.question.time_zone, answer.total
    lines = named_rows()
    lines.add_row("credits", amount(total.credits))
    for measure in _measures(total):
        lines.add_row(Text(measure.head), measure.cell(total))
    if total.first_at is not None:
        lines.add_row("first", local(total.first_at, zone))
        lines.add_row("last", local(total.last_at, zone))
    return Group(Text(title, "bold"), lines)


def _groups(answer: Usage, title: str) -> RenderableType:
    fields, total, measures = answer.question.group_by, answer.total, _measures(answer.total)
    table = bare_table()
    add_group_columns(table, fields)
    for head in ("credits", "share", *(measure.head for measure in measures)):
        table.add_column(Text(head), justify="right", no_wrap=True)
    table.add_column("")
    largest = max(line.credits for line in answer.lines)
    for line in first_lines(answer.lines):
        table.add_row(
            *group_cells(line.group, fields, other=line.other),
            amount(line.credits),
            share_text(line.credits, total.credits),
            *(measure.cell(line) for measure in measures),
            Bar(line.credits, largest),
        )
    table.add_section()
    sums = [measure.cell(total) for measure in measures]
    table.add_row(*total_cells(fields), amount(total.credits), "", *sums, "", style="bold")
    return titled(title, table, len(answer.lines), "groups")


def _course(answer: Usage, window: str, title: str) -> RenderableType:
    """One line per bucket."""
    zone, total, measures = answer.question.time_zone, answer.total, _measures(answer.total)
    table = bare_table()
    table.add_column(f"{window} ({zone})", no_wrap=True)
    for head in ("credits", *(measure.head for measure in measures)):
        table.add_column(Text(head), justify="right", no_wrap=True)
    table.add_column("")
    largest = max(line.credits for line in answer.lines)
    for line in first_lines(answer.lines):
        table.add_row(
            bucket_name(line.start, window, zone),
            amount(line.credits),
            *(measure.cell(line) for measure in measures),
            Bar(line.credits, largest),
        )
    table.add_section()
    table.add_row("total", amount(total.credits), *(measure.cell(total) for measure in measures), "", style="bold")
    return titled(title, table, len(answer.lines), "lines")
