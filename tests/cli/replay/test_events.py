"""Usage events out of records: what is a record's own fault stays in that record."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import parse_pool
from solvent.transports.cli.replay.events import Event, read_events, split_names
from solvent.transports.cli.replay.formats import Format, Shape
from solvent.transports.cli.replay.mapping import (
    ByHash,
    ById,
    BySource,
    Column,
    Condition,
    EventMapping,
    parse_column,
)
from solvent.transports.cli.replay.paths import parse_place
from solvent.transports.cli.replay.pricing import Prices
from solvent.transports.cli.replay.records import RECORD_BYTES_MAX, BadRecord
from solvent.transports.cli.replay.rows import Parsed
from solvent.transports.cli.replay.source import SourceError

ACME = parse_pool("acme")
TWO_PRICES = Prices({"tokens": Decimal(1), "calls": Decimal("0.5")})
ONE_CREDIT = Prices({"tokens": Decimal(1)})


def column(name: str, option: str = "--option") -> Column:
    return parse_column(name, option)


def mapping(**parts: Any) -> EventMapping:
    defaults = {"identity": BySource("file"), "pool": ACME, "amount_column": column("amount")}
    return EventMapping(**{**defaults, **parts})


def stream(content: str | bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content if isinstance(content, bytes) else content.encode()))


def csv_events(content: str | bytes, **parts: Any) -> list[Event]:
    return list(read_events(stream(content), Shape(Format.CSV), mapping(**parts)))


def json_events(*values: object, **parts: Any) -> list[Event]:
    """Of natural names, but for what ``parts`` say."""
    natural = EventMapping(**parts).with_natural_names()
    natural.check()
    lines = "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values)
    return list(read_events(stream(lines), Shape(Format.JSON_LINES), natural))


def requests(events: Iterable[Event]) -> list[Any]:
    found = list(events)
    assert all(isinstance(each, Parsed) for each in found), found
    return [request for each in found if isinstance(each, Parsed) for request in each.requests]


def only_request(events: Iterable[Event]) -> Any:
    (request,) = requests(events)
    return request


def reasons(events: Iterable[Event]) -> list[str]:
    bad = list(events)
    assert all(isinstance(each, BadRecord) for each in bad), bad
    return [each.reason for each in bad if isinstance(each, BadRecord)]


cells = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(cells, cells, st.integers(1, 10**9)), max_size=10), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_csv_row_becomes_the_event_it_says(rows: list[tuple[str, str, int]], end: str) -> None:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["model", "user", "amount"])
    writer.writerows(rows)
    found = csv_events(written.getvalue(), dimensions_rest=True)
    assert len(found) == len(rows)
    for number, (event, (model, user, amount)) in enumerate(zip(found, rows, strict=True), start=1):
        assert isinstance(event, Parsed)
        (request,) = event.requests
        dims = {name: value.strip() for name, value in (("model", model), ("user", user)) if value.strip()}
        assert (request.key, request.amount, request.dimensions or {}) == (f"file:{number}", Decimal(amount), dims)


@given(st.binary(max_size=400), st.sampled_from(list(Format)))
def test_any_bytes_are_events_or_bad_records_and_end_in_nothing_but_a_clear_error(content: bytes, form: Format) -> None:
    natural = EventMapping(identity=BySource("f"), amount_column=column("amount"), pool=ACME).with_natural_names()
    before = b"amount,id\n1,first\n" if not form.is_json else b'{"amount": 1}\n'
    found: list[Event] = []
    try:
        for event in read_events(stream(before + content), Shape(form), natural):
            found.append(event)
    except SourceError as error:
        assert form is not Format.JSON_LINES
        assert f"record {len(found) + 1}," in error.message
    assert [event.number for event in found] == list(range(1, len(found) + 1))
    assert requests(found[:1])[0].key == "f:1"


words = st.text(alphabet="ab/:@%1.é\x00 ", max_size=6)
json_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2), max_leaves=6
)
names = st.sampled_from(
    ["id", "time", "pool", "customer", "resource", "amount", "metric", "quantity", "dimensions", "x"]
)


@given(st.dictionaries(names, json_values, max_size=8), st.booleans(), st.booleans())
def test_any_json_object_is_events_or_a_bad_record(fields: dict[str, Any], rest: bool, nested: bool) -> None:
    (event,) = json_events(
        msgspec.json.encode(fields).decode(), dimensions_rest=rest, dimensions_nested=nested, prices=ONE_CREDIT
    )
    assert event.number == 1


def test_json_numbers_keep_their_digits() -> None:
    line = '{"id": 1, "customer": "acme", "amount": 0.1, "dimensions": {"t": 0.5, "n": 3, "b": false}}'
    request = only_request(json_events(line))
    assert request.amount == Decimal("0.1")
    assert request.dimensions == {"t": 0.5, "n": 3, "b": False}


def test_json_needs_no_options_with_natural_names() -> None:
    request = only_request(
        json_events(
            '{"id": "e1", "time": "2026-11-23T10:00:00+01:00", "customer": "acme", "resource": "web",'
            ' "metric": "tokens", "quantity": 1200, "dimensions": {"model": "m"}}',
            prices=Prices({"tokens": Decimal("0.00003")}),
        )
    )
    assert request.key == "e1"
    assert request.pool == parse_pool("acme/web")
    assert request.occurred_at == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert (request.metric, request.quantity, request.amount) == ("tokens", 1200, Decimal("0.036"))
    assert request.dimensions == {"model": "m"}


def test_a_record_with_several_metrics_is_one_debit_for_each() -> None:
    (parsed,) = csv_events(
        "id,in,out\ne1,100,0\n",
        identity=ById(column("id")),
        amount_column=None,
        metrics={"input": column("in"), "output": column("out"), "more": column("in")},
        prices=Prices({"input": Decimal("0.01"), "output": Decimal("0.02"), "more": Decimal(0)}),
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
    assert [str(each.pool) for each in requests(found[:2])] == ["staging@acme/web:tokens", "staging@acme:tokens"]
    assert reasons(found[2:]) == ["who: expected a value, got nothing"]


def test_dimensions_of_a_record_win_over_those_of_the_file() -> None:
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
        (" ,,", "cells"),
        ("e1", "cells"),
        ("e1,1,2", "cells"),
        ("e1,one", "amount"),
        ("e1,-1", "amount"),
        ("e1,0.0000001", "--round"),
        ("e1,99999999999999", "at most"),
        (",1", "id: expected a value"),
        ("e1,", "amount: expected a value"),
        ("x" * 257 + ",1", "key"),
        ("x" * RECORD_BYTES_MAX + ",1", "bytes"),
        ("e1\0,1", "NUL in line 2, character 3"),
    ],
)
def test_a_bad_record_is_reported_and_the_next_one_is_read(row: str, says: str) -> None:
    found = csv_events(f"id,amount\n{row}\ne2,1\n", identity=ById(column("id")))
    assert says in reasons(found[:1])[0]
    assert (found[0].number, found[0].line) == (1, 2)
    assert isinstance(found[1], Parsed)


def test_bytes_that_are_no_text_are_one_bad_record() -> None:
    found = csv_events(b'id,amount,note\na,1,"\n\xc3\x28"\ne2,1,x\n', identity=ById(column("id")))
    assert reasons(found[:1]) == ["expected UTF-8 text, got the byte 0xC3 in line 3, character 1"]
    assert (found[1].number, found[1].line) == (2, 4)
    assert isinstance(found[1], Parsed)
    (bad,) = reasons(list(read_events(stream(b'{"a": "\xff"}'), Shape(Format.JSON_LINES), mapping())))
    assert "the byte 0xFF" in bad


def test_an_amount_of_zero_is_free() -> None:
    (parsed,) = csv_events("amount\n0.00\n")
    assert isinstance(parsed, Parsed)
    assert (parsed.requests, parsed.free) == ((), 1)


# What an option names has to be there


@pytest.mark.parametrize("record", [{}, {"tokens": None}, {"tokens": ""}, {"tokens": "  "}, {"tokens": {"x": 1}}])
@pytest.mark.parametrize(
    "parts",
    [
        {"metrics": {"tokens": column("tokens")}},
        {"metric_column": column("kind"), "quantity_column": column("tokens")},
        {"amount_column": column("tokens")},
        {"dimension_columns": {"t": column("tokens")}},
        {"pool": None, "customer_column": column("tokens")},
        {"pool": None, "pool_column": column("tokens")},
        {"time_column": column("tokens")},
        {"identity": ById(column("tokens"))},
        {"identity": ByHash((column("tokens"),))},
        {"conditions": (Condition(column("tokens"), frozenset("x")),)},
        {"dimensions_column": column("tokens")},
    ],
)
def test_what_is_missing_null_or_empty_is_a_bad_record(record: dict[str, Any], parts: dict[str, Any]) -> None:
    if record.get("tokens") and "dimensions_column" in parts:
        return  # There an object is what is expected.
    whole = {"pool": ACME, "identity": BySource("f"), "prices": Prices({"tokens": Decimal(1)}), **parts}
    given = {"kind": "tokens", **({"amount": 1} if "amount_column" not in parts else {}), **record}
    (reason,) = reasons(json_events(given, **whole))
    as_pool = "pool_column" in parts and isinstance(record.get("tokens"), dict)
    assert reason.startswith("pool: expected" if as_pool else "tokens: expected")


def test_what_may_be_missing_counts_nothing() -> None:
    (parsed,) = json_events(
        {"id": "a"},
        pool=ACME,
        metrics={"tokens": column("tokens?"), "calls": column("data.calls?")},
        dimension_columns={"model": column("model?")},
        time_column=column("at?"),
        prices=TWO_PRICES,
    )
    assert isinstance(parsed, Parsed)
    assert (parsed.requests, parsed.free) == ((), 2)
    (parsed,) = csv_events("x\n1\n", amount_column=column("amount?"))
    assert isinstance(parsed, Parsed)
    assert parsed.free == 1


def test_a_resource_that_is_empty_is_the_global_pool_and_one_that_is_missing_is_not() -> None:
    parts: dict[str, Any] = {"customer_column": column("c"), "resource_column": column("r"), "identity": BySource("f")}
    found = json_events(
        {"c": "acme", "r": None, "amount": 1}, {"c": "acme", "r": "", "amount": 1}, {"c": "acme", "amount": 1}, **parts
    )
    assert [str(each.pool) for each in requests(found[:2])] == ["acme", "acme"]
    assert reasons(found[2:]) == ["r: expected a value, got nothing"]


@pytest.mark.parametrize("header", ["", "\n\n", "\0"])
def test_a_file_without_a_header_is_refused_at_once(header: str) -> None:
    with pytest.raises(InvalidRequest, match="FILE: expected a header row"):
        csv_events(header)


def test_a_column_that_is_not_there_names_its_option_and_one_that_may_be_meant() -> None:
    with pytest.raises(
        InvalidRequest, match=r"--metric: .*'promt_tokens' \(id, prompt_tokens\), did you mean"
    ) as refused:
        csv_events(
            "id,prompt_tokens\n1,2\n",
            amount_column=None,
            metrics={"tokens": column("promt_tokens", "--metric")},
            prices=ONE_CREDIT,
        )
    assert refused.value.field == "--metric"


def test_columns_that_are_not_read_may_be_unnamed_or_doubled() -> None:
    content = ",x,x,amount,\n1,2,3,4,5\n"
    assert only_request(csv_events(content)).amount == 4
    assert only_request(csv_events(content, dimensions_rest=True, not_dimensions=(parse_place("x"),))).amount == 4
    for parts in ({"dimensions_rest": True}, {"dimension_columns": {"x": column("x")}}):
        with pytest.raises(InvalidRequest, match="a column that is there once, got 2 of 'x'"):
            csv_events(content, **parts)
    with pytest.raises(InvalidRequest, match="--not-dims"):
        csv_events(content, dimensions_rest=True, not_dimensions=(parse_place("y"),))


def test_a_member_that_is_there_twice_is_wrong_only_where_it_is_read() -> None:
    line = '{"id": "a", "amount": 1, "x": 1, "x": 2}'
    assert only_request(json_events(line, pool=ACME)).amount == 1
    assert reasons(json_events(line, pool=ACME, dimension_columns={"x": column("x")})) == [
        "x: expected one value, got two values of this name"
    ]
    (reason,) = reasons(json_events('{"id": "a", "amount": 1, "amount": 2}', pool=ACME))
    assert reason.startswith("amount: expected one value")
    (reason,) = reasons(json_events(line, pool=ACME, dimensions_rest=True))
    assert reason.startswith("x: expected")


# Identity


def test_the_key_is_the_source_and_the_number_of_the_record() -> None:
    content = 'amount,note\n1,"two\nlines"\n\n   \n2,x\n'
    assert [each.key for each in requests(csv_events(content, identity=BySource("jan")))] == ["jan:1", "jan:2"]


def test_the_key_is_a_digest_of_columns() -> None:
    parts: dict[str, Any] = {"identity": ByHash((column("a"), column("b")))}
    first, same, other, moved = requests(csv_events("a,b,amount\nx,y,1\nx,y,2\nx,z,1\nxy,z,1\n", **parts))
    assert first.key == same.key
    assert len({first.key, other.key, moved.key}) == 3
    natural = {"pool": ACME, "prices": ONE_CREDIT, **parts}
    of_json = json_events({"a": "x", "b": "y", "amount": 1}, {"a": 1, "b": True, "amount": 1}, **natural)
    assert requests(of_json[:1])[0].key == first.key, "the format is no part of it"
    written = csv_events("a,b,amount\n1,true,1\n", **parts)
    assert requests(of_json[1:])[0].key == only_request(written).key
    shifted = json_events({"a": None, "b": "x", "amount": 1}, {"a": "x", "b": None, "amount": 1}, pool=ACME,
                          identity=ByHash((column("a?"), column("b?"))))  # fmt: skip
    left, right = requests(shifted)
    assert left.key != right.key


def test_nothing_is_an_event_without_an_identity() -> None:
    with pytest.raises(InvalidRequest, match=r"--id-column, or --source NAME .* or --hash-columns"):
        mapping(identity=None).check_identity()
    (reason,) = reasons(json_events({"customer": "acme", "amount": 1}))
    assert reason.startswith("id: expected what makes an event the same event")


# Paths and arrays


def test_values_stand_at_paths() -> None:
    record = {
        "payload": {"user": {"id": 7}, "value": "2.50", "at": 1_767_225_600},
        "list": [{"n": "first"}, {"n": "second"}],
        "a.b": "whole name",
        "a": {"b": "path", "c.d": "dotted"},
        "text": '{"deep": [1, {"er": "json in text"}]}',
    }
    request = only_request(
        json_events(
            record,
            pool=ACME,
            identity=ById(column("payload.user.id")),
            amount_column=column("payload.value"),
            time_column=column("payload.at"),
            dimension_columns={
                "n": column("list[1].n"),
                "whole": column("a.b"),
                "dotted": column(r"a.c\.d"),
                "text": column("text.deep[1].er"),
            },
        )
    )
    assert (request.key, request.amount) == ("7", Decimal("2.5"))
    assert request.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert request.dimensions == {"n": "second", "whole": "whole name", "dotted": "dotted", "text": "json in text"}


def test_an_array_is_an_event_for_each_element_whose_key_has_its_place() -> None:
    record = {"id": "r", "at": 1, "items": [{"n": 1, "m": "x"}, {"n": 2, "m": "y"}]}
    parts: dict[str, Any] = {"pool": ACME, "prices": ONE_CREDIT, "dimension_columns": {"model": column("items.m")}}
    found = requests(json_events(record, metrics={"tokens": column("items.n")}, **parts))
    assert [(each.key, each.quantity, each.dimensions) for each in found] == [
        ("r[0]#tokens", 1, {"model": "x"}),
        ("r[1]#tokens", 2, {"model": "y"}),
    ]
    found = requests(json_events(record, amount_column=column("items.n"), identity=ById(column("items.m")), pool=ACME))
    assert [(each.key, each.amount) for each in found] == [("x", 1), ("y", 2)], "an id of the element needs no place"
    (empty,) = json_events(
        {"id": "r", "items": []}, metrics={"tokens": column("items.n")}, pool=ACME, prices=ONE_CREDIT
    )
    assert empty == Parsed(1, 1, ())


def test_arrays_in_arrays_are_events_too() -> None:
    record = {"data": [{"day": "mon", "results": [{"n": 1}, {"n": 2}]}, {"day": "tue", "results": [{"n": 3}]}]}
    parts: dict[str, Any] = {"pool": ACME, "amount_column": column("data.results.n")}
    assert [each.key for each in requests(json_events(record, identity=BySource("s"), **parts))] == [
        "s:1[0][0]",
        "s:1[0][1]",
        "s:1[1][0]",
    ]
    by_day = requests(json_events(record, identity=ById(column("data.day")), **parts))
    assert [(each.key, each.amount) for each in by_day] == [("mon[0]", 1), ("mon[1]", 2), ("tue[0]", 3)]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"id": "r", "a": [{"n": 1}], "b": [{"n": 1}]}, "a: expected one array"),
        ({"id": "r", "a": [{"n": 1}, {}], "b": {"n": 1}}, "b.n: expected a member of the elements of a"),
        ({"id": "r", "a": [[{"n": 1}]], "b": {"n": 1}}, "a[0]: expected an object, got an array"),
        ({"id": "r", "a": [7], "b": {"n": 1}}, "a.n: expected a value"),
        ({"id": "r", "a": [{"n": 1}] * 20_000, "b": {"n": 1}}, "record: expected at most 10,000 events"),
    ],
)
def test_arrays_that_could_mean_several_things_are_bad_records(record: dict[str, Any], says: str) -> None:
    metrics = {"tokens": column("a.n"), "calls": column("b.n")}
    prices = TWO_PRICES
    if says.startswith("record"):
        del metrics["calls"]
        prices = ONE_CREDIT
    (reason,) = reasons(json_events(record, metrics=metrics, pool=ACME, prices=prices))
    assert says in reason


def test_a_record_with_one_bad_element_is_bad_as_a_whole() -> None:
    record = {"id": "r", "items": [{"n": 1}, {"n": "two"}]}
    (reason,) = reasons(json_events(record, metrics={"tokens": column("items.n")}, pool=ACME, prices=ONE_CREDIT))
    assert reason.startswith("items.n: expected a decimal number")


# Dimensions of the rest


def test_the_rest_is_flattened_and_nulls_are_absent() -> None:
    record = {
        "id": "a",
        "amount": 1,
        "model": "m",
        "none": None,
        "empty": "",
        "list": [1],
        "tags": ["x"],
        "data": {"user": {"id": 5}, "tokens": 7, "secret": "s", "nothing": None},
    }
    parts: dict[str, Any] = {"pool": ACME, "dimensions_rest": True}
    assert only_request(json_events(record, **parts)).dimensions == {
        "model": "m",
        "data.user.id": 5,
        "data.tokens": 7,
        "data.secret": "s",
    }
    found = json_events(record, **parts, not_dimensions=(parse_place("data.secret"), parse_place("model")))
    assert only_request(found).dimensions == {"data.user.id": 5, "data.tokens": 7}
    assert only_request(json_events(record, **parts, not_dimensions=(parse_place("data"),))).dimensions == {
        "model": "m"
    }
    assert only_request(json_events(record, **parts, dimensions_nested=False)).dimensions == {"model": "m"}


def test_of_an_array_the_rest_has_the_element() -> None:
    record = {"id": "a", "items": [{"n": 1, "m": "x"}, {"n": 2, "m": "y"}], "who": "w"}
    found = requests(json_events(record, pool=ACME, amount_column=column("items.n"), dimensions_rest=True))
    assert [each.dimensions for each in found] == [{"items.m": "x", "who": "w"}, {"items.m": "y", "who": "w"}]


def test_an_object_of_dimensions_may_have_another_name_and_objects_in_it() -> None:
    record = {"id": "a", "data": {"tokens": 3, "model": {"name": "m"}, "none": None}}
    parts: dict[str, Any] = {"pool": ACME, "dimensions_column": column("data"), "amount_column": column("data.tokens")}
    assert only_request(json_events(record, **parts)).dimensions == {"model.name": "m"}
    assert not only_request(json_events(record, **parts, dimensions_nested=False)).dimensions
    of_text = csv_events('amount,data\n1,"{""a"": {""b"": 2}}"\n', dimensions_column=column("data"))
    assert only_request(of_text).dimensions == {"a.b": 2}
    (reason,) = reasons(json_events({"id": "a", "amount": 1, "dimensions": {"x": [1]}}, pool=ACME))
    assert reason == "dimensions.x: expected text, a number or a boolean, got an array"


def test_only_records_with_a_value_are_events() -> None:
    kind, on = Condition(column("kind"), frozenset(("a", "5"))), Condition(column("on"), frozenset(["true"]))
    found = json_events(
        {"id": 1, "amount": 1, "kind": "a", "on": True},
        {"id": 2, "amount": 1, "kind": 5.0, "on": True},
        {"id": 3, "amount": 1, "kind": "b", "on": True},
        {"id": 4, "amount": "?", "kind": "a", "on": False},
        pool=ACME,
        conditions=(kind, on),
    )
    assert [each.key for each in requests(found)] == ["1", "2"]
    assert [each.left_out for each in found if isinstance(each, Parsed)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"pool_column": column("p", "--pool-column")}, "--pool-column"),
        ({"pool": None}, "--pool"),
        ({"amount_column": None}, "--amount-column"),
        ({"amount_column": None, "metric_column": column("m")}, "--quantity-column"),
        ({"metrics": {"m": column("m")}, "amount_column": column("a", "--amount-column")}, "--metric"),
        ({"amount_column": None, "metrics": {"m": column("m")}}, "--price"),
        (
            {"amount_column": None, "metrics": {"calls": column("m")}, "prices": TWO_PRICES},
            "--price",
        ),
        ({"amount_column": None, "quantity_column": column("q")}, "--quantity-column"),
        ({"amount_column": None, "quantity_column": column("q"), "metric_column": column("m")}, "--price"),
        ({"amount_column": None, "counted": True, "prices": ONE_CREDIT}, "--count"),
        ({"not_dimensions": (parse_place("x"),)}, "--not-dims"),
        ({"resource_column": column("r", "--resource-column")}, "--resource-column"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(parts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        mapping(**parts).check()
    assert refused.value.field == field


def test_a_list_of_columns_may_quote_one_with_a_comma() -> None:
    assert split_names('a, "b,c",d ', "--hash-columns") == ["a", "b,c", "d"]
    for wrong in ("", "a,,b", '"a'):
        with pytest.raises(InvalidRequest, match="--hash-columns"):
            split_names(wrong, "--hash-columns")
