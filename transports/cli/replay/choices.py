"""What the options of ``solvent replay`` say together, and what a preset adds to them: how to read one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from solvent.engine.rules.rates import RateCard, parse_card
from solvent.engine.values.amounts import SCALE_DEFAULT, parse_scale
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import check_id, parse_pool
from solvent.transports.cli.pairs import parse_dimensions, parse_pair, parse_pairs

from .decimals import ROUNDINGS
from .events import split_names
from .formats import stem_of
from .json_text import decode_json
from .mapping import (
    ByHash,
    ById,
    BySource,
    Column,
    Condition,
    EventMapping,
    Identity,
    always,
    column_or_none,
    parse_column,
)
from .options import FLATTEN, LEAVE_OUT, ColumnOptions, DimensionOptions, FileOptions, PriceOptions
from .paths import Path as Steps
from .paths import parse_place
from .presets import NO_PRESET, Preset, find_preset
from .pricing import Prices, parse_price
from .reading import Reading
from .source import check_encoding
from .tables import DELIMITERS
from .times import check_time_format

NO_QUOTE: Final = "none"
EXAMPLE: Final = "example"
MISSING_IS_ZERO: Final = "0"
SOURCE_CHARS_MAX: Final = 128

Group = TypeVar("Group", FileOptions, ColumnOptions, DimensionOptions, PriceOptions)


def reading_of(
    file: Path,
    reading: FileOptions,
    columns: ColumnOptions,
    dimensions: DimensionOptions,
    prices: PriceOptions,
    *,
    currencies: Mapping[str, int],
) -> Reading:
    """Return how ``file`` is to be read.

    ``currencies`` has the decimal places of currencies that ``--currency`` names. Raises ``InvalidRequest`` naming the
    option that is wrong.
    """
    preset = NO_PRESET if reading.preset is None else find_preset(reading.preset)
    given = {"reading": reading, "columns": columns, "dimensions": dimensions, "prices": prices}
    left = _not_overruled(preset, given)
    reading, columns = _with_preset(reading, left), _with_preset(columns, left)
    dimensions, prices = _with_preset(dimensions, left), _with_preset(prices, left)
    priced, example = _prices_of(preset, prices, dry_run=reading.dry_run)
    mapping = _mapping_of(file, preset, reading, columns, dimensions, prices, priced, currencies)
    return Reading(
        file=file,
        mapping=mapping,
        format=reading.format,
        delimiter=_delimiter_of(reading.delimiter),
        quote=_quote_of(reading.quote, _delimiter_of(reading.delimiter)),
        encoding=None if reading.encoding is None else check_encoding(reading.encoding, "--encoding"),
        records=() if reading.records is None else _steps_of(reading.records),
        records_if_there=[_steps_of(place) for place in preset.records],
        natural=preset is NO_PRESET,
        example_prices=example,
    )


# -- What a preset gives, and what overrules it

_ALTERNATIVES: Final = (
    frozenset(("id_column", "source", "hash_columns")),
    frozenset(("pool", "pool_column", "customer_column", "resource_column")),
    frozenset(("assume_utc", "time_zone")),
    frozenset(("quantity_column", "count")),
)
"""Ways to say one thing: one that is typed overrules all of the preset's."""
_INSTEAD_OF: Final[Mapping[str, frozenset[str]]] = {
    "metric": frozenset(("amount_column", "metric_column", "quantity_column", "count")),
    "amount_column": frozenset(("metric", "count")),
    "metric_column": frozenset(("metric",)),
    "quantity_column": frozenset(("metric",)),
    "count": frozenset(("metric", "amount_column")),
    "price": frozenset(("amount_column",)),
    "rates": frozenset(("amount_column", "price")),
}
"""What the preset says of something that is typed in another way."""
_ADDED_TO: Final = frozenset(("dim_column", "price"))
"""What is typed is added to the preset's, name by name."""


def _not_overruled(preset: Preset, given: Mapping[str, object]) -> dict[str, Any]:
    """Return the options of a preset that nothing typed overrules."""
    typed = {
        each.name
        for group in given.values()
        for each in dataclasses.fields(group)  # type: ignore[arg-type]
        if getattr(group, each.name) not in (None, False) and getattr(group, each.name) != each.default
    }
    gone = set(typed - _ADDED_TO)
    for name in typed:
        gone |= _INSTEAD_OF.get(name, frozenset())
        gone |= frozenset().union(*(each for each in _ALTERNATIVES if name in each))
    return {name: words for name, words in preset.options.items() if name not in gone}


def _with_preset(group: Group, preset: Mapping[str, Any]) -> Group:
    """Return a group of options with what the preset says of it."""
    changes: dict[str, Any] = {}
    for each in dataclasses.fields(group):
        if each.name in preset:
            words = preset[each.name]
            typed = getattr(group, each.name) if each.name in _ADDED_TO else None
            changes[each.name] = _added(words, typed) if typed else list(words) if isinstance(words, tuple) else words
    return dataclasses.replace(group, **changes)


def _added(words: Sequence[str], typed: Sequence[str]) -> list[str]:
    names = {word.partition("=")[0] for word in typed}
    return [*typed, *(word for word in words if word.partition("=")[0] not in names)]


# -- The parts of a reading


def _mapping_of(
    file: Path,
    preset: Preset,
    reading: FileOptions,
    columns: ColumnOptions,
    dimensions: DimensionOptions,
    prices: PriceOptions,
    priced: Prices,
    currencies: Mapping[str, int],
) -> EventMapping:
    pool = None if columns.pool is None else parse_pool(columns.pool)
    currency = columns.pool_currency if pool is None else pool.currency
    places = currencies.get(currency, SCALE_DEFAULT) if prices.scale is None else prices.scale
    lax = _may_be_missing(columns.missing)

    def lenient(column: Column | None) -> Column | None:
        return column._replace(optional=True) if column is not None and lax else column

    return EventMapping(
        identity=_identity_of(columns),
        pool=pool,
        pool_column=always(columns.pool_column, "--pool-column"),
        customer_column=always(columns.customer_column, "--customer-column"),
        resource_column=lenient(column_or_none(columns.resource_column, "--resource-column")),
        environment=columns.environment,
        currency=columns.pool_currency,
        scale=parse_scale(places, "--scale"),
        rounding=_one_of(prices.rounding, ROUNDINGS, "--round"),
        time_column=column_or_none(columns.time_column, "--time-column"),
        time_format=check_time_format(columns.time_format, "--time-format"),
        zone=_zone(columns.assume_utc, columns.time_zone),
        amount_column=lenient(column_or_none(prices.amount_column, "--amount-column")),
        metric_column=always(prices.metric_column, "--metric-column"),
        quantity_column=lenient(column_or_none(prices.quantity_column, "--quantity-column")),
        counted=prices.count,
        metrics=_columns_of(prices.metric, "--metric", optional=lax),
        prices=priced,
        dimension_columns=_columns_of(dimensions.dim_column, "--dim-column", optional=lax),
        dimensions_column=lenient(column_or_none(dimensions.dims_column, "--dims-column")),
        dimensions=preset.dimensions(stem_of(file.name), parse_dimensions(dimensions.dim or ())),
        dimensions_rest=dimensions.dims_rest,
        dimensions_nested=_one_of(dimensions.dims_nested, (FLATTEN, LEAVE_OUT), "--dims-nested") == FLATTEN,
        not_dimensions=tuple(
            parse_place(name) for words in dimensions.not_dims or () for name in split_names(words, "--not-dims")
        ),
        conditions=_conditions_of(reading.only or ()),
        backfill=reading.backfill,
    )


def _identity_of(columns: ColumnOptions) -> Identity | None:
    """Return what makes an event the same event. Raises ``InvalidRequest`` for two answers to that."""
    given = {"--id-column": columns.id_column, "--source": columns.source, "--hash-columns": columns.hash_columns}
    options = [option for option, value in given.items() if value is not None]
    if len(options) > 1:
        raise InvalidRequest(options[1], f"one identity of an event, {options[0]} is given too")
    if columns.hash_columns is not None:
        names = split_names(columns.hash_columns, "--hash-columns")
        return ByHash(tuple(parse_column(name, "--hash-columns") for name in names))
    if columns.source is not None:
        return BySource(check_id(columns.source, "--source", chars_max=SOURCE_CHARS_MAX))
    column = always(columns.id_column, "--id-column")
    return None if column is None else ById(column)


def _prices_of(preset: Preset, prices: PriceOptions, *, dry_run: bool) -> tuple[Prices, bool]:
    """Return the prices, and whether they are the preset's made-up ones: those only if asked for, or in a dry run."""
    single = {
        metric: parse_price(text, f"--price {metric}")
        for metric, text in parse_pairs(prices.price or (), "--price").items()
    }
    needed = bool(prices.metric or prices.quantity_column or prices.count) and prices.amount_column is None
    example = prices.rates == EXAMPLE or (prices.rates is None and not single and dry_run and needed)
    if prices.rates == EXAMPLE and not preset.rates:
        raise InvalidRequest("--rates", "a --preset that has an example, or a file", got=EXAMPLE)
    if example and preset.rates:
        return Prices(single, parse_card(preset.rates)), True
    return Prices(single, None if prices.rates is None else _card_of(Path(prices.rates))), False


def _card_of(file: Path) -> RateCard:
    try:
        rates = decode_json(file.read_bytes())
    except (OSError, InvalidRequest) as error:
        why = error.strerror if isinstance(error, OSError) else error.message
        raise InvalidRequest("--rates", "a JSON list of rates, as set-rates takes it", got=f"{file} ({why})") from None
    return parse_card(rates)


def _columns_of(words: Sequence[str] | None, option: str, *, optional: bool) -> dict[str, Column]:
    columns = {name: parse_column(text, option) for name, text in parse_pairs(words or (), option).items()}
    return {name: column._replace(optional=True) if optional else column for name, column in columns.items()}


def _conditions_of(words: Sequence[str]) -> tuple[Condition, ...]:
    values: dict[str, list[str]] = {}
    for word in words:
        name, value = parse_pair(word, "--only")
        values.setdefault(name, []).append(value)
    return tuple(Condition(parse_column(name, "--only"), frozenset(each)) for name, each in values.items())


def _steps_of(text: str) -> Steps:
    steps = parse_place(text).path
    if all(isinstance(step, str) for step in steps):
        return steps
    raise InvalidRequest("--records", "a path of names, such as data.items", got=repr(text)[:60])


def _may_be_missing(word: str | None) -> bool:
    if word not in (None, MISSING_IS_ZERO):
        raise InvalidRequest("--missing", "0, or nothing at all", got=repr(word)[:20])
    return word is not None


def _one_of(word: str | None, words: Iterable[str], option: str) -> str | None:
    if word is None or word in words:
        return word
    raise InvalidRequest(option, f"one of {', '.join(words)}", got=repr(word)[:20])


def _delimiter_of(text: str | None) -> str | None:
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text or "", text)
    if delimiter is None or (len(delimiter) == 1 and delimiter not in '"\r\n\0'):
        return delimiter
    raise InvalidRequest("--delimiter", "one character, or tab", got=repr(text)[:20])


def _quote_of(text: str, delimiter: str | None) -> str | None:
    if text == NO_QUOTE:
        return None
    if len(text) == 1 and text not in (*DELIMITERS, "\r", "\n", "\0", delimiter):
        return text
    raise InvalidRequest("--quote", "one character, or none", got=repr(text)[:20])


def _zone(assume_utc: bool, name: str | None) -> tzinfo | None:
    if assume_utc and name is not None:
        raise InvalidRequest("--time-zone", "either --assume-utc or a zone, not both")
    if name is None:
        return UTC if assume_utc else None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest("--time-zone", "the name of a zone, such as Europe/Paris", got=repr(name)[:60]) from None
