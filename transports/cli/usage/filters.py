"""Filters of usage as they are typed, and the engine's errors in the names of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from solvent.engine.api.usage_answers import GroupValue
from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.pairs import parse_dimensions, parse_pair

from .options import QuestionOptions

_OPTION_OF: Final[Mapping[str, str]] = {
    "group_by": "--by",
    "against": "--compare",
    "descending": "--ascending",
    "fill_empty": "--fill",
    "currency": "--in",
}
"""The options with another name than the engine's field."""
_OWN_NAMES: Final = (
    *("customer", "environment", "period", "start", "end", "window", "time_zone"),
    *("top", "order", "limit", "cursor", "sensitivity"),
)
"""The options with the same name as the engine's field."""


class Filter(NamedTuple):
    """A filter of a usage request, and the option that it was typed with."""

    option: str
    filter: dict[str, Any]


def filters_of(asked: QuestionOptions) -> list[Filter]:
    """Return all filters, each with its option. Raises ``InvalidRequest`` naming the option."""
    one_of: dict[str, list[GroupValue]] = {}
    for name, value in _typed_pairs(asked.where or (), "--where"):
        one_of.setdefault(name, []).append(value)
    options = dict.fromkeys(one_of, "--where")
    for name in asked.missing or ():
        one_of.setdefault(name, []).append(None)
        options.setdefault(name, "--missing")
    none_of: dict[str, list[GroupValue]] = {}
    for name, value in _typed_pairs(asked.where_not or (), "--where-not"):
        none_of.setdefault(name, []).append(value)
    found = [Filter(options[name], {"field": name, "op": "in", "values": values}) for name, values in one_of.items()]
    found += [Filter("--where-not", {"field": name, "op": "not in", "values": each}) for name, each in none_of.items()]
    for word in asked.prefix or ():
        name, text = parse_pair(word, "--prefix")
        found.append(Filter("--prefix", {"field": name, "op": "prefix", "values": [text]}))
    return found


def _typed_pairs(words: Sequence[str], option: str) -> Iterator[tuple[str, GroupValue]]:
    for word in words:
        yield from parse_dimensions([word], option).items()


@contextmanager
def naming_options(filters: Sequence[str]) -> Iterator[None]:
    """Name the option instead of the field in an ``InvalidRequest`` of the block. ``filters``: the filters' options."""
    try:
        yield
    except InvalidRequest as error:
        option = _option_of(error.field, filters)
        got = error.message.removeprefix(f"{error.field}: expected {error.expected}").removeprefix(", got ")
        raise type(error)(option, error.expected, got=got or None) from None


def _option_of(field: str, filters: Sequence[str]) -> str:
    first, _, rest = field.partition(".")
    number = rest.partition(".")[0]
    if first == "filters" and number.isdigit() and int(number) < len(filters):
        return filters[int(number)]
    if first in _OPTION_OF:
        return _OPTION_OF[first]
    return f"--{first.replace('_', '-')}" if first in _OWN_NAMES else field
