"""Values, times and shares of usage as text.

Values of dimensions are anything that anyone ever sent: ``value_text`` shows what cannot be printed as escapes, so that
no value moves the cursor or passes for another one.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from solvent.engine.api.usage_answers import GroupValue, UsageQuestion
from solvent.engine.values.amounts import SCALE_MAX
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT
from solvent.transports.cli.render.visible import visible
from solvent.transports.cli.terminal import Text

MISSING: Final = "(none)"
OTHER: Final = "(other)"
DIM: Final = "bright_black"


def value_text(value: GroupValue) -> Text:
    """A value as it is told apart from all others: text that could be taken for something else is in quotes."""
    if value is None:
        return Text(MISSING, DIM)
    if isinstance(value, str):
        return Text(json_text(value) if is_ambiguous(value) or value in (MISSING, OTHER) else value)
    return Text(field_text(value) or "")


def told_apart(name: str) -> str:
    """``name``, or as a JSON string if there is something in it that has to be escaped."""
    return name if visible(name) == name else json_text(name)


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


def range_text(start: datetime, end: datetime, zone: str) -> str:
    """A range of time of the wall clock in ``zone``."""
    return f"{local(start, zone)} up to {local(end, zone)} ({zone})"


def whose(question: UsageQuestion) -> str:
    """The pools that a question is about."""
    if question.pool is not None:
        return question.pool
    currency = "" if question.currency == CURRENCY_DEFAULT else f" in {question.currency}"
    where = "" if question.environment == ENVIRONMENT_DEFAULT else f" of {question.environment}"
    return f"{'all pools' if question.customer is None else f'all pools of {question.customer}'}{where}{currency}"


def smallest_units(value: Decimal) -> int:
    """An amount or quantity as a whole number: so many of the smallest unit of any currency."""
    return int(Fraction(value) * 10**SCALE_MAX)


def share_text(part: Decimal, whole: Decimal) -> str:
    """``part`` in percent of ``whole``; nothing where there is no whole."""
    return f"{float(100 * Fraction(part) / Fraction(whole)):.1f} %" if whole > 0 else ""


_FORMULA: Final = ("=", "+", "-", "@")
"""A text that begins so would be worked out by a spreadsheet."""


def field_text(value: GroupValue) -> str | None:
    """The value of a dimension as text from which it can be read again.

    Text stands as it is: ann. Numbers and booleans are JSON, and so is, in quotes, text that could be taken for JSON or
    for a formula, is empty, or has characters that cannot be printed. What is missing is ``None``.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        return json.dumps(value)
    return json_text(value) if is_ambiguous(value) or value.startswith(_FORMULA) else value


def is_ambiguous(text: str) -> bool:
    """Whether ``text``, as it is, is nothing to see, nothing to print, or reads as JSON."""
    if not text or visible(text) != text or text != text.strip():
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    except RecursionError:
        pass
    return True


def json_text(text: str) -> str:
    """``text`` as a JSON string in which every character can be printed."""
    return visible(json.dumps(text, ensure_ascii=False))
