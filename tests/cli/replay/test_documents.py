"""JSON in each form it comes in: the same records, in bounded memory, and a clear end where it is none."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.replay.documents import members_of, read_documents, read_json_lines, values_of
from solvent.transports.cli.replay.json_text import DOUBLED, decode_json
from solvent.transports.cli.replay.records import RECORD_BYTES_MAX, BadRecord, Broken, Record

BOM = b"\xef\xbb\xbf"


class Pieces(io.RawIOBase):
    """A stream that hands out so many bytes at a time, as a pipe does."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__()
        self._rest = memoryview(content)
        self._size = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece, self._rest = self._rest[: min(self._size, len(buffer))], self._rest[min(self._size, len(buffer)) :]
        buffer[: len(piece)] = piece
        return len(piece)


def stream(content: bytes | str, size: int = 1 << 16) -> Any:
    return io.BufferedReader(Pieces(content if isinstance(content, bytes) else content.encode(), size), size)


def documents(content: bytes | str, *path: str, size: int = 1 << 16) -> list[Record | BadRecord]:
    return list(read_documents(stream(content, size), path))


names = st.text(alphabet=st.sampled_from('ab"\\{}[],:é🜁\n'), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(names, values, max_size=4), max_size=6)


@given(objects, st.integers(1, 40), st.sampled_from([None, 1, "\t"]), st.booleans(), st.booleans())
def test_an_array_is_the_records_that_its_lines_would_be(
    found: list[dict[str, Any]], size: int, indent: Any, ascii_only: bool, bom: bool
) -> None:
    before = BOM if bom else b""
    as_lines = "\n".join(json.dumps(each, ensure_ascii=ascii_only) for each in found)
    as_array = json.dumps(found, indent=indent, ensure_ascii=ascii_only)
    as_values = "".join(json.dumps(each, indent=indent) for each in found)
    in_object = json.dumps({"meta": {"data": [1]}, "data": found, "more": ["data", {"data": 1}]}, indent=indent)
    expected = [(number, each) for number, each in enumerate(found, start=1)]
    for records in (
        list(read_json_lines(stream(before + as_lines.encode(), size))),
        documents(before + as_array.encode(), size=size),
        documents(before + as_values.encode(), size=size),
        documents(before + in_object.encode(), "data", size=size),
        documents(f"[{in_object}]", "data", size=size),
        documents(json.dumps({"a": {"b": {"c": found}}}, indent=indent), "a", "b", "c", size=size),
    ):
        assert [(record.number, record.row) for record in records if isinstance(record, Record)] == expected
        assert len(records) == len(found)


def test_records_say_where_they_begin() -> None:
    found = documents('[\n {"a":\n  1},\n\n {"b": 2}, {"c": 3}\n]\n')
    assert [(record.number, record.line) for record in found] == [(1, 2), (2, 5), (3, 5)]
    found = documents('{"x": [1,\n2], "data": [\n{"a": 1},\n{}\n]}\n{"data":\n[{}]}', "data")
    assert [(record.number, record.line) for record in found] == [(1, 3), (2, 4), (3, 7)]
    lines = list(read_json_lines(stream('{"a": 1}\n\n  \n{"b": 2}\r\n')))
    assert [(record.number, record.line) for record in lines] == [(1, 1), (2, 4)]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("7", "expected one JSON object, got a number"),
        ('"text"', "expected one JSON object, got text"),
        ("[1]", "expected one JSON object, got an array"),
        ("null", "expected one JSON object, got null"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 01}', "expected JSON"),
        ('{"a": tru}', "expected JSON"),
        ('{"a" 1}', "expected JSON"),
        ('{"a": 1 "b": 2}', "expected JSON"),
        ('{"a": 1e99999999999999999999}', "a number that nothing can hold"),
        ('{"a": "\\x"}', "expected JSON"),
        ('{"a": ' + "1" * 5000 + "}", "a number that nothing can hold"),
        ('{"a": "' + "x" * RECORD_BYTES_MAX + '"}', "at most 1,048,576 bytes"),
    ],
)
def test_a_value_that_is_no_record_is_one_bad_record(value: str, says: str) -> None:
    for found in (
        documents(f'[{{}}, {value}, {{"a": 1}}]'),
        list(read_json_lines(stream(f'{{}}\n{value}\n{{"a": 1}}'))),
    ):
        assert [type(record) for record in found] == [Record, BadRecord, Record]
        assert isinstance(found[1], BadRecord)
        assert says in found[1].reason
        assert found[2] == Record(3, found[2].line, {"a": 1})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{}", "expected , or ] in line 1, got the end"),
        ('[{}, {"a": 1', "the text ends inside of it"),
        ('[{} {"a": 1}]', "expected , or ] in line 1, got '{'"),
        ('[{}, {"a": 1]}]', "the brackets do not match in line 1"),
        ('[{}, {"a": "b\n"}]', "a text is not closed in line 1"),
        ('[{},\n{"a":\n"b\n"}]', "a text is not closed in line 3"),
        ('[{}, ]', "expected a value in line 1, got ']'"),
        ('{}, {"a": 1}', "expected a value in line 1, got ','"),
        ('[{}]]', "expected a value"),
        ("{}" + '{"a": ' * 600 + "1", "more than 500 brackets are open"),
        ("[{}," + "[" * 100_000, "more than 500 brackets are open"),
    ],
)  # fmt: skip
def test_where_the_structure_is_wrong_the_text_ends_with_the_record_named(text: str, says: str) -> None:
    for size in (1, 7, 1 << 16):
        records = read_documents(stream(text, size))
        assert next(records) == Record(1, 1, {})
        with pytest.raises(Broken, match=r"^record 2, which begins in line") as broken:
            next(records)
        assert says in broken.value.message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', [BadRecord(1, 1, "expected an object with records at data")]),
        ("7", [BadRecord(1, 1, "expected an object with records at data")]),
        ('{"data": {"id": 1}}', [Record(1, 1, {"id": 1})]),
        ('{"data": []}', []),
        ('[{"data": {}}, {"data": [{}]}]', [Record(1, 1, {}), Record(2, 1, {})]),
        ('{"data": null}', [BadRecord(1, 1, "record: expected one JSON object, got null")]),
    ],
)
def test_records_stand_where_an_option_says(text: str, found: list[Record | BadRecord]) -> None:
    assert documents(text, "data") == found


def test_two_members_with_the_records_are_no_guess() -> None:
    with pytest.raises(Broken, match="two members are called 'data'"):
        documents('{"data": [], "data": [{}]}', "data")


def test_what_is_not_asked_for_takes_no_memory_however_long_it_is() -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"skipped": ["'
        yield from [b"x" * 65_000] * 500
        yield b'"], "data": [{"a": 1}, {"b": "'
        yield from [b"y" * 65_000] * 500
        yield b'"}, {"c": 3}]}'

    made = parts()

    class Made(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            piece = next(made, b"")
            buffer[: len(piece)] = piece
            return len(piece)

    tracemalloc.start()
    found = list(read_documents(io.BufferedReader(Made(), 1 << 16), ("data",)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [type(record) for record in found] == [Record, BadRecord, Record]
    assert peak < 8 << 20


def test_a_name_that_is_there_twice_is_neither_value() -> None:
    assert decode_json('{"a": 1, "b": {"c": 1, "c": 1}, "a": 2}') == {"a": DOUBLED, "b": {"c": DOUBLED}}


def test_the_structure_tells_how_many_values_a_text_has_and_their_members() -> None:
    assert [values_of(text) for text in (b"{}", b'{"a": nan}', b"{}{} []", b'{"a":', b"{]", b"")] == [
        1,
        1,
        3,
        None,
        None,
        0,
    ]
    assert members_of(b'{"a": {"x": 1}, "b": [') == {"a", "b"}
    assert members_of(b'[{"a": 1}, {"b": 1}]') == {"a"}
    assert members_of(b"7") == members_of(b"") == frozenset()


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(InvalidRequest, match="JSON"):
        decode_json("[" * 100_000)
