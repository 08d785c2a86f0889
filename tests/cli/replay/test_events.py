"""Usage events out of lines: what is a line's own fault stays in that line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import parse_pool
from solvent.transports.cli.replay.events import BadLine, parse_csv, parse_json_lines
from solvent.transports.cli.replay.lines import LINE_BYTES_MAX, Line, read_lines
from solvent.transports.cli.replay.mapping import Column, EventMapping
from solvent.transports.cli.replay.rows import Parsed, parse_moment

ACME = parse_pool("acme")


def column(name: str) -> Column:
    return Column(name, "--option")


def mapping(**parts: Any) -> EventMapping:
    return EventMapping(**{"id_prefix": "file", "pool": ACME, "amount_column": column("amount"), **parts})


def csv_events(text: str | bytes, **parts: Any) -> list[Parsed | BadLine]:
    content = text if isinstance(text, bytes) else text.encode()
    return list(parse_csv(read_lines(io.BytesIO(content)), mapping(**parts)))


def json_events(*lines: str, **parts: Any) -> list[Parsed | BadLine]:
    natural = EventMapping(id_prefix="file", **parts).with_natural_names()
    natural.check()
    return list(parse_json_lines(read_lines(io.BytesIO("\n".join(lines).encode())), natural))


def only_request(events: Iterable[Parsed | BadLine]) -> Any:
    (parsed,) = events
    assert isinstance(parsed, Parsed), parsed
    (request,) = parsed.requests
    return request


def reasons(events: Iterable[Parsed | BadLine]) -> list[str]:
    bad = list(events)
    assert all(isinstance(each, BadLine) for each in bad), bad
    return [each.reason for each in bad if isinstance(each, BadLine)]


cells = st.text(alphabet=st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs", "Cc")), max_size=12)


@given(st.lists(st.tuples(cells, cells, st.integers(1, 10**9)), max_size=10), st.sampled_from(["\n", "\r\n"]))
def test_every_csv_row_becomes_the_event_it_says(rows: list[tuple[str, str, int]], end: str) -> None:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator=end)
    writer.writerow(["model", "user", "amount"])
    writer.writerows(rows)
    found = csv_events(written.getvalue(), dimensions_rest=True)
    assert len(found) == len(rows)
    for line, (event, (model, user, amount)) in enumerate(zip(found, rows, strict=True), start=2):
        assert isinstance(event, Parsed)
        (request,) = event.requests
        dims = {name: value.strip() for name, value in (("model", model), ("user", user)) if value.strip()}
        assert (request.key, request.amount, request.dimensions or {}) == (f"file:{line}", Decimal(amount), dims)


@given(st.binary(max_size=400))
def test_any_bytes_are_events_or_bad_lines_and_never_an_error(content: bytes) -> None:
    for json_lines in (False, True):
        lines = list(read_lines(io.BytesIO(b"id,amount\n" + content)))
        if json_lines:
            events = list(parse_json_lines(lines[1:], EventMapping(id_prefix="f").with_natural_names()))
        else:
            events = list(parse_csv(lines, mapping(id_column=column("id"))))
        blank = sum(1 for line in lines[1:] if line.content is not None and not line.content.strip())
        assert len(events) == len(lines) - 1 - blank


words = st.text(alphabet="ab/:@%1.é\x00 ", max_size=6)
json_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
json_values = json_scalars | st.lists(json_scalars, max_size=2) | st.dictionaries(words, json_scalars, max_size=2)
names = st.sampled_from(
    ["id", "time", "pool", "customer", "resource", "amount", "metric", "quantity", "dimensions", "x"]
)


@given(st.dictionaries(names, json_values, max_size=8), st.booleans())
def test_any_json_object_is_events_or_a_bad_line(fields: dict[str, Any], rest: bool) -> None:
    line = Line(1, msgspec.json.encode(fields), 1)
    natural = EventMapping(id_prefix="f", dimensions_rest=rest, prices={"tokens": Decimal(1)}).with_natural_names()
    (event,) = parse_json_lines([line], natural)
    assert event.line == 1


def test_json_numbers_keep_their_digits() -> None:
    line = '{"customer": "acme", "amount": 0.1, "dimensions": {"t": 0.5, "n": 3, "b": false}}'
    request = only_request(json_events(line))
    assert request.amount == Decimal("0.1")
    assert request.dimensions == {"t": 0.5, "n": 3, "b": False}


def test_a_json_line_needs_no_options() -> None:
    request = only_request(
        json_events(
            '{"id": "e1", "time": "2026-11-23T10:00:00+01:00", "customer": "acme", "resource": "web",'
            ' "metric": "tokens", "quantity": 1200, "dimensions": {"model": "m"}}',
            prices={"tokens": Decimal("0.00003")},
        )
    )
    assert request.key == "e1"
    assert request.pool == parse_pool("acme/web")
    assert request.occurred_at == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert (request.metric, request.quantity, request.amount) == ("tokens", 1200, Decimal("0.036"))
    assert request.dimensions == {"model": "m"}


def test_a_row_with_several_metrics_is_one_debit_for_each() -> None:
    (parsed,) = csv_events(
        "id,in,out\ne1,100,0\n",
        id_column=column("id"),
        amount_column=None,
        metrics={"input": column("in"), "output": column("out"), "more": column("in")},
        prices={"input": Decimal("0.01"), "output": Decimal("0.02"), "more": Decimal(0)},
    )
    assert isinstance(parsed, Parsed)
    assert [(request.key, request.amount) for request in parsed.requests] == [("e1#input", Decimal(1))]
    assert parsed.free == 2


def test_customers_and_resources_come_from_columns() -> None:
    found = csv_events(
        "who,where,amount\nacme,web,1\nacme,,2\n,web,3\n",
        pool=None,
        customer_column=column("who"),
        resource_column=column("where"),
        environment="staging",
        currency="tokens",
    )
    assert [str(request.pool) for event in found[:2] if isinstance(event, Parsed) for request in event.requests] == [
        "staging@acme/web:tokens",
        "staging@acme:tokens",
    ]
    assert reasons(found[2:]) == ["who: expected a value, got nothing"]


def test_dimensions_of_a_row_win_over_those_of_the_file() -> None:
    request = only_request(
        csv_events(
            "m,region,amount\ngpt,eu,1\n",
            dimension_columns={"model": column("m")},
            dimensions={"model": "none", "region": "none", "source": "csv"},
            dimensions_rest=True,
        )
    )
    assert request.dimensions == {"model": "gpt", "region": "eu", "source": "csv"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("", "cells"),
        ("e1", "cells"),
        ("e1,1,2", "cells"),
        ('"e1,1', "CSV"),
        ("e1,one", "amount"),
        ("e1,-1", "amount"),
        ("e1,0.0000001", "decimal places"),
        ("e1,99999999999999", "at most"),
        (",1", "id"),
        ("e1,", "amount"),
        ("x" * 257 + ",1", "key"),
        ("x" * LINE_BYTES_MAX + ",1", "bytes"),
    ],
)
def test_a_bad_row_is_reported_and_the_next_one_is_read(row: str, says: str) -> None:
    found = csv_events(f"id,amount\n{row or ' ,,'}\ne2,1\n", id_column=column("id"))
    assert says in reasons(found[:1])[0]
    assert found[0].line == 2
    assert isinstance(found[1], Parsed)


def test_bytes_that_are_no_text_are_one_bad_line() -> None:
    found = csv_events(b"id,amount\n\xff,1\ne2,1\n", id_column=column("id"))
    assert reasons(found[:1]) == ["line: expected UTF-8 text"]
    assert isinstance(found[1], Parsed)


def test_an_amount_of_zero_is_free() -> None:
    (parsed,) = csv_events("amount\n0.00\n")
    assert isinstance(parsed, Parsed)
    assert (parsed.requests, parsed.free) == ((), 1)


@pytest.mark.parametrize("header", ["", "a,a,amount", "a,,amount", "a,b"])
def test_a_header_that_does_not_fit_is_refused_at_once(header: str) -> None:
    with pytest.raises(InvalidRequest):
        csv_events(f"{header}\n1,2,3\n" if header else "")


def test_seven_decimals_are_cut_to_microseconds() -> None:
    found = parse_moment("2023-11-16 18:17:03.9799609", UTC, "t")
    assert found == datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)


def test_a_time_without_a_zone_needs_one() -> None:
    with pytest.raises(InvalidRequest, match="assume-utc"):
        parse_moment("2023-11-16 18:17:03", None, "t")
    paris = ZoneInfo("Europe/Paris")
    assert parse_moment("2023-07-16 18:00:00", paris, "t") == datetime(2023, 7, 16, 16, tzinfo=UTC)
    assert parse_moment("2023-07-16 18:00:00Z", paris, "t") == datetime(2023, 7, 16, 18, tzinfo=UTC)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2_000_000)))
def test_times_read_back_to_the_same_moment(since: timedelta) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + since
    assert parse_moment(moment.isoformat(), None, "t") == moment
    assert parse_moment(moment.replace(tzinfo=None).isoformat(" "), UTC, "t") == moment


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"pool_column": column("p")}, "--option"),
        ({"pool": None}, "--pool"),
        ({"amount_column": None}, "--amount-column"),
        ({"metrics": {"m": column("m")}}, "--metric"),
        ({"amount_column": None, "metrics": {"m": column("m")}}, "--price"),
        (
            {"amount_column": None, "metrics": {"m": column("m")}, "prices": {"m": Decimal(1), "n": Decimal(1)}},
            "--price",
        ),
        ({"amount_column": None, "quantity_column": column("q")}, "--quantity-column"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(parts: dict[str, Any], field: str) -> None:
    if "pool_column" in parts:
        parts, field = {"pool_column": Column("p", "--pool-column")}, "--pool-column"
    if "metrics" in parts and "amount_column" not in parts:
        parts = {**parts, "amount_column": Column("amount", "--amount-column")}
    with pytest.raises(InvalidRequest) as refused:
        mapping(**parts).check()
    assert refused.value.field == field
