"""Usage as tables, bars and sparklines, for people.

As in ``render.py``, amounts are exact and what comes from outside is never markup. Values of dimensions are anything
that anyone ever sent: ``value_text`` shows what cannot be printed as escapes, so that no value moves the cursor or
passes for another one.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from solvent.engine.api.ledger import LedgerEntry
from solvent.engine.api.usage_answers import (
    Forecast,
    GroupValue,
    Usage,
    UsageComparison,
    UsageEntryPage,
    UsageLine,
    UsageQuestion,
    UsageSpike,
    UsageSpikes,
    UsageStatus,
)
from solvent.engine.usage.analysis import exact, sparkline
from solvent.engine.values.amounts import SCALE_MAX, to_decimal
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT
from solvent.engine.values.times import EPOCH, MICROSECOND
from solvent.engine.values.windows import PERIODS, windows_between
from solvent.engine.values.words import check_word

from .tables import amount, dimensions, named_rows
from .usage_files import field_text, is_ambiguous, json_text

BAR_CHARS_USAGE: Final = 24
SPARKLINE_CHARS_MAX: Final = 48
LINES_SHOWN_MAX: Final = 1_000
"""Of one table. A program that wants more takes ``--json``, ``--csv`` or ``--parquet``."""
METRICS_SHOWN_MAX: Final = 4

MISSING: Final = "(none)"
OTHER: Final = "(other)"
_DIM: Final = "bright_black"


# -- Values, times and shares


def value_text(value: GroupValue) -> Text:
    """A value as it is told apart from all others: text that could be taken for something else is in quotes."""
    if value is None:
        return Text(MISSING, _DIM)
    if isinstance(value, str):
        return Text(json_text(value) if is_ambiguous(value) or value in (MISSING, OTHER) else value)
    return Text(field_text(value) or "")


def visible(text: str) -> str:
    """``text``, or as a JSON string if it has characters that cannot be printed."""
    return text if text.isprintable() else json_text(text)


def local(value: datetime | None, zone: str, *, none: str = "never") -> str:
    """A time of the wall clock in ``zone``, to the second."""
    return none if value is None else value.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


def bucket_name(start: datetime, window: str, zone: str) -> str:
    """A window as ``--period`` would call it; hours and minutes as their first moment, which may come twice a year."""
    begins = start.astimezone(ZoneInfo(zone))
    match window:
        case "day":
            return f"{begins:%Y-%m-%d}"
        case "week":
            year, week, _ = begins.isocalendar()
            return f"{year}-W{week:02}"
        case "month":
            return f"{begins:%Y-%m}"
        case "quarter":
            return f"{begins.year}-Q{(begins.month + 2) // 3}"
        case "year":
            return f"{begins.year}"
        case _:
            return f"{begins:%Y-%m-%d %H:%M}" if zone == "UTC" else begins.isoformat(" ", "minutes")


def _range(start: datetime, end: datetime, zone: str) -> str:
    return f"{local(start, zone)} up to {local(end, zone)} ({zone})"


def _whose(question: UsageQuestion) -> str:
    if question.pool is not None:
        return question.pool
    currency = "" if question.currency == CURRENCY_DEFAULT else f" in {question.currency}"
    where = "" if question.environment == ENVIRONMENT_DEFAULT else f" of {question.environment}"
    return f"{'all pools' if question.customer is None else f'all pools of {question.customer}'}{where}{currency}"


def _units(value: Decimal) -> int:
    return int(Fraction(value) * 10**SCALE_MAX)


def _share(part: Decimal, whole: Decimal) -> str:
    return f"{float(100 * Fraction(part) / Fraction(whole)):.1f} %" if whole > 0 else ""


class _Bar:
    """A share of the largest value, as wide as there is room for. Above zero it is one character at least."""

    def __init__(self, value: Decimal, largest: Decimal) -> None:
        self._share = Fraction(value) / Fraction(largest) if value > 0 else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(BAR_CHARS_USAGE, options.max_width)
        yield Text("" if self._share is None else "█" * max(1, int(self._share * width)), "blue")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, BAR_CHARS_USAGE)


class _Course:
    """A sparkline, as wide as there is room for."""

    def __init__(self, values: Sequence[int]) -> None:
        self._values = values

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(sparkline(self._values, min(SPARKLINE_CHARS_MAX, options.max_width)), "blue")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(len(self._values), SPARKLINE_CHARS_MAX))


class _Words:
    """Words of a command line to copy: where they do not fit into one line, each line but the last ends in ``\\``."""

    def __init__(self, label: str, words: Sequence[str]) -> None:
        self._label = label
        self._words = words

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [self._label]
        for word in map(shlex.quote, self._words):
            if cell_len(f"{lines[-1]} {word} \\") <= options.max_width:
                lines[-1] += f" {word}"
            else:
                lines[-1] += " \\"
                lines.append(f"  {word}")
        yield Text("\n".join(lines), _DIM, overflow="fold")


def _signed(value: Decimal) -> str:
    return f"{'+' if value > 0 else ''}{amount(value)}"


# -- Columns of groups


def _add_group_columns(table: Table, fields: Sequence[str]) -> None:
    for field in fields:
        table.add_column(Text(visible(field)), overflow="fold")


def _group_cells(group: Mapping[str, GroupValue], fields: Sequence[str], *, other: bool) -> list[RenderableType]:
    if other:
        return [Text(OTHER if place == 0 else "", _DIM) for place, _ in enumerate(fields)]
    return [value_text(group[field]) for field in fields]


def _total_cells(fields: Sequence[str]) -> list[RenderableType]:
    return [Text("total" if place == 0 else "") for place, _ in enumerate(fields)]


def _table() -> Table:
    """Without a title: that is wider than some tables, and goes on a line of its own."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def _titled(title: str, table: Table, count: int, noun: str) -> RenderableType:
    if count <= LINES_SHOWN_MAX:
        return Group(Text(title, "bold"), table)
    more = f"and {count - LINES_SHOWN_MAX:,} more {noun}: --top shows fewer, --json and --csv all"
    return Group(Text(title, "bold"), table, Text(more, _DIM))


# -- Usage


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

    return _Measure(visible(name) or "(no metric)", cell)


def usage(answer: Usage) -> RenderableType:
    """An answer, in the form that suits what was asked."""
    question = answer.question
    title = f"Usage of {_whose(question)}, {_range(answer.start, answer.end, question.time_zone)}"
    if not answer.lines:
        return Group(Text(title, "bold"), Text("nothing was used"))
    window = None if question.window == "total" else question.window
    if window is not None:
        shown = _trends(answer, window, title) if question.group_by else _course(answer, window, title)
    else:
        shown = _groups(answer, title) if question.group_by else _sum(answer, title)
    left_out = len(answer.total.quantities) - METRICS_SHOWN_MAX
    return shown if left_out <= 0 else Group(shown, Text(f"and {left_out} more metrics: --json has all", _DIM))


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
    table = _table()
    _add_group_columns(table, fields)
    for head in ("credits", "share", *(measure.head for measure in measures)):
        table.add_column(Text(head), justify="right", no_wrap=True)
    table.add_column("")
    largest = max(line.credits for line in answer.lines)
    for line in answer.lines[:LINES_SHOWN_MAX]:
        table.add_row(
            *_group_cells(line.group, fields, other=line.other),
            amount(line.credits),
            _share(line.credits, total.credits),
            *(measure.cell(line) for measure in measures),
            _Bar(line.credits, largest),
        )
    table.add_section()
    sums = [measure.cell(total) for measure in measures]
    table.add_row(*_total_cells(fields), amount(total.credits), "", *sums, "", style="bold")
    return _titled(title, table, len(answer.lines), "groups")


def _course(answer: Usage, window: str, title: str) -> RenderableType:
    """One line per bucket."""
    zone, total, measures = answer.question.time_zone, answer.total, _measures(answer.total)
    table = _table()
    table.add_column(f"{window} ({zone})", no_wrap=True)
    for head in ("credits", *(measure.head for measure in measures)):
        table.add_column(Text(head), justify="right", no_wrap=True)
    table.add_column("")
    largest = max(line.credits for line in answer.lines)
    for line in answer.lines[:LINES_SHOWN_MAX]:
        table.add_row(
            bucket_name(line.start, window, zone),
            amount(line.credits),
            *(measure.cell(line) for measure in measures),
            _Bar(line.credits, largest),
        )
    table.add_section()
    table.add_row("total", amount(total.credits), *(measure.cell(total) for measure in measures), "", style="bold")
    return _titled(title, table, len(answer.lines), "lines")


class _Trend:
    """A group over all buckets."""

    def __init__(self, line: UsageLine) -> None:
        self.group = line.group
        self.other = line.other
        self.units: dict[datetime, int] = {}
        self.events = self.refused = self.quantity = 0

    def add(self, line: UsageLine) -> None:
        self.units[line.start] = _units(line.credits)
        self.events += line.events
        self.refused += line.refused
        self.quantity += sum(map(_units, line.quantities.values()))

    def rank(self, order: str) -> int:
        return {"events": self.events, "refused": self.refused, "quantity": self.quantity}.get(order, self.total)

    @property
    def total(self) -> int:
        return sum(self.units.values())


def _trends(answer: Usage, window: str, title: str) -> RenderableType:
    """One line per group, with its course over the buckets."""
    question, total = answer.question, answer.total
    fields, zone = question.group_by, question.time_zone
    buckets = _buckets(answer, window)
    table = _table()
    _add_group_columns(table, fields)
    heads = ("credits", "share", "events", *(["refused"] if total.refused else []))
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    first, last = (bucket_name(each, window, zone) for each in (buckets[0], buckets[-1]))
    table.add_column(Text(f"by {window}, {first} to {last}"))
    found = trends(answer)
    for trend in found[:LINES_SHOWN_MAX]:
        credits = to_decimal(trend.total, SCALE_MAX)
        table.add_row(
            *_group_cells(trend.group, fields, other=trend.other),
            amount(credits),
            _share(credits, total.credits),
            f"{trend.events:,}",
            *([f"{trend.refused:,}" if trend.refused else ""] if total.refused else []),
            _Course([trend.units.get(start, 0) for start in buckets]),
        )
    table.add_section()
    everything = [sum(each.units.get(start, 0) for each in found) for start in buckets]
    table.add_row(
        *_total_cells(fields),
        amount(total.credits),
        "",
        f"{total.events:,}",
        *([f"{total.refused:,}"] if total.refused else []),
        _Course(everything),
        style="bold",
    )
    return _titled(title, table, len(found), "groups")


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


# -- Comparisons, spikes and forecasts


def comparison(answer: UsageComparison) -> RenderableType:
    """One period beside another."""
    question, total = answer.question, answer.total
    fields, zone = question.group_by, question.time_zone
    title = (
        f"Usage of {_whose(question)}, {_range(answer.start, answer.end, zone)}, "
        f"against {_range(answer.before_start, answer.before_end, zone)}"
    )
    table = _table()
    _add_group_columns(table, fields)
    for head in ("before", "now", "change", "%"):
        table.add_column(head, justify="right", no_wrap=True)
    lines = [(_group_cells(each.group, fields, other=each.other), each) for each in answer.changes[:LINES_SHOWN_MAX]]
    if fields:
        for cells, each in lines:
            table.add_row(*cells, amount(each.before), amount(each.credits), *_change_cells(each.change, each.relative))
        table.add_section()
    change = _change_cells(total.change, total.relative)
    table.add_row(*_total_cells(fields), amount(total.before), amount(total.credits), *change, style="bold")
    return _titled(title, table, len(answer.changes), "groups")


def _change_cells(change: Decimal, relative: Decimal | None) -> tuple[Text, Text]:
    style = "red" if change > 0 else "green" if change < 0 else ""
    share = ("new" if change else "") if relative is None else f"{float(100 * relative):+,.1f} %"
    return Text(_signed(change), style), Text(share, style)


def spikes(answer: UsageSpikes) -> RenderableType:
    """What stands out, and how to see what is behind the first of it."""
    question = answer.usage.question
    fields, zone, window = question.group_by, question.time_zone, question.window or ""
    title = f"Spikes of {_whose(question)}, {_range(answer.start, answer.usage.end, zone)}"
    if not answer.spikes:
        return Group(Text(title, "bold"), Text("nothing stands out"))
    table = _table()
    table.add_column(f"{window} ({zone})", no_wrap=True)
    _add_group_columns(table, fields)
    for head in ("credits", "expected", "score"):
        table.add_column(head, justify="right", no_wrap=True)
    for spike in answer.spikes:
        table.add_row(
            bucket_name(spike.line.start, window, zone),
            *_group_cells(spike.line.group, fields, other=spike.line.other),
            amount(spike.line.credits),
            amount(spike.expected),
            f"{spike.score:,.1f}",
        )
    hints = (entries_command(answer, spike) for spike in answer.spikes)
    hint = next(filter(None, hints), None)
    return Group(Text(title, "bold"), table, *([] if hint is None else [_Words("entries behind it:", hint)]))


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
    words += ["--start", max(line.start, usage.start).isoformat(), "--end", min(line.end, usage.end).isoformat()]
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
    return not isinstance(value, str) or value.isprintable()


def forecast(answer: Forecast, zone: str) -> RenderableType:
    """When a pool runs dry."""
    lines = named_rows()
    lines.add_row("available", amount(answer.available))
    lines.add_row("used per day", amount(answer.per_day))
    lines.add_row("at the rate of", _range(answer.start, answer.end, zone))
    never = "nothing is being used" if not answer.per_day else "not within ten years"
    dry = never if answer.runs_dry_at is None else f"{local(answer.runs_dry_at, zone)} ({zone})"
    lines.add_row("runs dry", Text(dry, "" if answer.runs_dry_at is None else "yellow"))
    lines.add_row("expires unused", amount(answer.expiring))
    lines.add_row("assumption", answer.assumption)
    return Group(Text(f"Forecast for {answer.pool}, at version {answer.version}", "bold"), lines)


# -- Entries and the state of the file


def entries(usage: Usage, page: UsageEntryPage) -> RenderableType:
    """A page of the ledger entries behind an answer."""
    question = usage.question
    zone = question.time_zone
    table = _table()
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
            Text(visible(each.entry.key or "")),
            Text(_what(each.entry)),
        )
    title = Text(f"Entries behind the usage of {_whose(question)}, {_range(usage.start, usage.end, zone)}", "bold")
    if page.next_cursor is None:
        return Group(title, table)
    # Of a range such as "last 7 days", the next page would be one of another question.
    words = ("--start", usage.start.isoformat(), "--end", usage.end.isoformat(), "--cursor", page.next_cursor)
    return Group(title, table, _Words("more:", words))


def _what(entry: LedgerEntry) -> str:
    parts: Iterable[str] = (
        "" if entry.about is None else f"of {entry.about}",
        ""
        if entry.metric is None and entry.quantity is None
        else f"{entry.quantity or ''} {entry.metric or ''}".strip(),
        *(dimensions({name: value}) for name, value in entry.dimensions.items()),
    )
    return " ".join(visible(part) for part in parts if part)


def status(answer: UsageStatus) -> RenderableType:
    """The usage file after it was made again."""
    lines = named_rows()
    lines.add_row("frames", f"{answer.position:,}")
    lines.add_row("in the journal", f"{answer.journal:,}")
    return Group(Text.assemble(("✓ ", "green"), "usage was made again from the journal"), lines)
