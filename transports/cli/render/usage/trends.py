"""Usage by groups and windows: one line for each group, with its course over the buckets."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rich.console import RenderableType

from solvent.engine.api.usage_answers import GroupValue, Usage, UsageLine
from solvent.engine.usage.analysis import exact
from solvent.engine.values.amounts import SCALE_MAX, to_decimal
from solvent.engine.values.times import EPOCH, MICROSECOND
from solvent.engine.values.windows import PERIODS, windows_between
from solvent.engine.values.words import check_word
from solvent.transports.cli.render.cells import amount
from solvent.transports.cli.terminal import Text

from .columns import Course, add_group_columns, bare_table, first_lines, group_cells, titled, total_cells
from .text import bucket_name, share_text, smallest_units


class _Trend:
    """A group over all buckets."""

    def __init__(self, line: UsageLine) -> None:
        self.group = line.group
        self.other = line.other
        self.units: dict[datetime, int] = {}
        self.events = self.refused = self.quantity = 0

    def add(self, line: UsageLine) -> None:
        self.units[line.start] = smallest_units(line.credits)
        self.events += line.events
        self.refused += line.refused
        self.quantity += sum(map(smallest_units, line.quantities.values()))

    def rank(self, order: str) -> int:
        return {"events": self.events, "refused": self.refused, "quantity": self.quantity}.get(order, self.total)

    @property
    def total(self) -> int:
        return sum(self.units.values())


def trends_table(answer: Usage, window: str, title: str) -> RenderableType:
    """One line per group, with its course over the buckets."""
    question, total = answer.question, answer.total
    fields, zone = question.group_by, question.time_zone
    buckets = _buckets(answer, window)
    table = bare_table()
    add_group_columns(table, fields)
    heads = ("credits", "share", "events", *(["refused"] if total.refused else []))
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    first, last = (bucket_name(each, window, zone) for each in (buckets[0], buckets[-1]))
    table.add_column(Text(f"by {window}, {first} to {last}"))
    found = trends(answer)
    for trend in first_lines(found):
        credits = to_decimal(trend.total, SCALE_MAX)
        table.add_row(
            *group_cells(trend.group, fields, other=trend.other),
            amount(credits),
            share_text(credits, total.credits),
            f"{trend.events:,}",
            *([f"{trend.refused:,}" if trend.refused else ""] if total.refused else []),
            Course([trend.units.get(start, 0) for start in buckets]),
        )
    table.add_section()
    everything = [sum(each.units.get(start, 0) for each in found) for start in buckets]
    table.add_row(
        *total_cells(fields),
        amount(total.credits),
        "",
        f"{total.events:,}",
        *([f"{total.refused:,}"] if total.refused else []),
        Course(everything),
        style="bold",
    )
    return titled(title, table, len(found), "groups")


def trends(answer: Usage) -> list[_Trend]:
    """The groups of an answer by windows, in the order that was asked for."""
    found: dict[Any, _Trend] = {}
    for line in answer.lines:
        key = line.other, exact(tuple(line.group.values()))
        if key not in found:
            found[key] = _Trend(line)
        found[key].add(line)
    order, descending = answer.question.order, answer.question.descending
    ordered = sorted(found.values(), key=lambda trend: [_name_rank(value) for value in trend.group.values()])
    if order == "name":
        if descending:
            ordered.reverse()
    else:
        ordered.sort(key=lambda trend: trend.rank(order), reverse=descending is not False)
    return sorted(ordered, key=lambda trend: trend.other)


def _name_rank(value: GroupValue) -> tuple[int, float, str]:
    """As answers without windows are sorted by name."""
    if value is None:
        return 3, 0.0, ""
    if isinstance(value, str):
        return 2, 0.0, value
    return (0, float(value), "") if isinstance(value, bool) else (1, float(value), "")


def _buckets(answer: Usage, window: str) -> list[datetime]:
    """Where all buckets of the range begin, those in which nothing happened too."""
    start, end = ((moment - EPOCH) // MICROSECOND for moment in (answer.start, answer.end))
    windows = windows_between(start, end, check_word(window, "window", PERIODS), answer.question.time_zone)
    return [EPOCH + timedelta(microseconds=begins) for begins, _ in windows]
