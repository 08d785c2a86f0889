"""Tables against Python's own reader of them, in bounded memory, whatever is in them."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.replay.records import RECORD_BYTES_MAX, BadRecord, Broken
from solvent.transports.cli.replay.tables import Cells, Dialect, Table

BOM = b"\xef\xbb\xbf"


def read(content: bytes | str, dialect: Dialect = Dialect()) -> tuple[list[str], list[Cells | BadRecord]]:  # noqa: B008
    raw = content if isinstance(content, bytes) else content.encode()
    table = Table(io.BufferedReader(io.BytesIO(raw)), dialect)
    return table.header, list(table)


def cells_of(content: bytes | str, dialect: Dialect = Dialect()) -> list[list[str]]:  # noqa: B008
    header, records = read(content, dialect)
    assert all(isinstance(record, Cells) for record in records), records
    return [header, *(record.cells for record in records if isinstance(record, Cells))]


text = st.text(
    alphabet=st.sampled_from(["a", "é", "🜁", " ", ",", ";", "\t", "|", "'", '"', "\n", "\r", "\x1b", "0"]), max_size=6
) | st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
tables = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(text, min_size=width, max_size=width), min_size=1, max_size=8)
)


@given(
    tables,
    st.sampled_from([",", ";", "\t", "|", "x"]),
    st.sampled_from(['"', "'", "a"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.booleans(),
    st.booleans(),
)
def test_a_table_is_read_exactly_as_python_reads_it(
    rows: list[list[str]], delimiter: str, quote: str, end: str, quoting: Any, bom: bool, ended: bool
) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, quotechar=quote, lineterminator=end, quoting=quoting).writerows(rows)
    content = written.getvalue() if ended else written.getvalue().removesuffix(end)
    try:
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, quotechar=quote, strict=True)
        expected = not_blank(reader)
    except csv.Error:
        with pytest.raises((Broken, InvalidRequest)):
            cells_of(content, Dialect(delimiter, quote))
        return
    if expected:
        assert not_blank(cells_of((BOM if bom else b"") + content.encode(), Dialect(delimiter, quote))) == expected


def not_blank(rows: Iterable[list[str]]) -> list[list[str]]:
    """Without rows that are one cell of white space: in a table of one column, that is a blank line."""
    return [row for row in rows if len(row) > 1 or (row and row[0].strip())]


def test_a_record_may_span_lines_and_says_where_it_begins() -> None:
    header, records = read('id,note\r\n1,"a\r\n666,5000,not a record"\r\n\r\n2,"say ""hi""\n"\r\n3,x')
    assert header == ["id", "note"]
    assert records == [
        Cells(1, 2, ["1", "a\r\n666,5000,not a record"]),
        Cells(2, 5, ["2", 'say "hi"\n']),
        Cells(3, 7, ["3", "x"]),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_an_editor_does(end: str) -> None:
    _, records = read(end.join(["a,b", "1,2", "", "3,4", ""]))
    assert [(record.number, record.line) for record in records] == [(1, 2), (2, 4)]


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ('2,"never closed\n666,5000,x\n', "unexpected end of data"),
        ('2,"misplaced" quote\n666,5000,x\n', "expected after"),
        ('2,"a"b"\n666,5000,x"\n', "expected after"),
    ],
)
def test_behind_a_broken_quote_nothing_is_read(rest: str, says: str) -> None:
    table = Table(io.BufferedReader(io.BytesIO(b"id,note\n1,ok\n" + rest.encode())))
    assert next(table) == Cells(1, 2, ["1", "ok"])
    with pytest.raises(
        Broken, match=r"^record 2, which begins in line 3: a quote is misplaced or never closed"
    ) as broken:
        next(table)
    assert says in broken.value.message
    assert (broken.value.number, broken.value.line) == (2, 3)


def test_a_quote_in_a_cell_without_quotes_is_a_character() -> None:
    assert cells_of('id,size\n1,5" disk\n') == [["id", "size"], ["1", '5" disk']]
    assert cells_of('id,size\n1,"5 disk\n2,x\n', Dialect(",", None)) == [["id", "size"], ["1", '"5 disk'], ["2", "x"]]


class Endless(io.RawIOBase):
    """A stream that begins somehow, and then goes on for ever, or for so many bytes."""

    def __init__(self, start: bytes, piece: bytes, size: int) -> None:
        super().__init__()
        self._pieces = self._made(start, piece, size)
        self.read_bytes = 0

    @staticmethod
    def _made(start: bytes, piece: bytes, size: int) -> Iterator[bytes]:
        yield start
        for _ in range(size // len(piece)):
            yield piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = next(self._pieces, b"")
        assert len(piece) <= len(buffer)
        buffer[: len(piece)] = piece
        self.read_bytes += len(piece)
        return len(piece)


@pytest.mark.parametrize("piece", [b"x,y\n" * 2_000, b"no line end " * 600], ids=["lines", "one line"])
def test_a_quote_that_is_never_closed_takes_bounded_memory_and_is_named(piece: bytes) -> None:
    endless = Endless(b'id,note\n1,ok\n2,"never closed\n', piece, 64 << 20)
    table = Table(io.BufferedReader(endless, 1 << 16))
    assert next(table) == Cells(1, 2, ["1", "ok"])
    tracemalloc.start()
    with pytest.raises(Broken, match="record 2, which begins in line 3: it has more than 1,048,576 bytes"):
        next(table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    if b"\n" in piece:
        assert endless.read_bytes < 4 << 20, "it is not read to its end"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_record_of_the_limit_is_kept_and_a_longer_one_is_a_bad_record(end: str) -> None:
    longest: str = "1," + "x" * (RECORD_BYTES_MAX - 2)
    content = end.join(["a,b", longest, longest + "y", longest + "z" * (3 * RECORD_BYTES_MAX), "after,1", ""])
    _, records = read(content)
    assert records[0] == Cells(1, 2, ["1", longest[2:]])
    assert [type(record) for record in records] == [Cells, BadRecord, BadRecord, Cells]
    assert [(record.number, record.line) for record in records] == [(1, 2), (2, 3), (3, 4), (4, 5)]
    assert isinstance(records[1], BadRecord)
    assert records[1].reason == "a record has at most 1,048,576 bytes"


def test_the_limit_counts_bytes_and_all_lines_of_a_record() -> None:
    half = "é" * (RECORD_BYTES_MAX // 4)
    _, records = read(f"a,b\n{half},{half[:-1]}\n{half},{half}\nafter,1\n")
    assert [type(record) for record in records] == [Cells, BadRecord, Cells]
    line = "y" * 1_000 + "\n"
    _, records = read('a,b\n1,"' + line * 1_040 + '"\n2,x\n')
    assert [type(record) for record in records] == [Cells, Cells]
    with pytest.raises(Broken, match="record 1, which begins in line 2"):
        read('a,b\n1,"' + line * 1_050 + '"\n2,x\n')


def test_bytes_that_are_no_text_and_nul_are_bad_records() -> None:
    _, records = read(b'a,b\n1,\xff\n2,"x\ny\xe9"\n3,ok\n4,\0\n5,\xed\xa0\x80\n')
    assert records == [
        BadRecord(1, 2, "expected UTF-8 text, got the byte 0xFF in line 2, character 3"),
        BadRecord(2, 3, "expected UTF-8 text, got the byte 0xE9 in line 4, character 2"),
        Cells(3, 5, ["3", "ok"]),
        BadRecord(4, 6, "expected text, got a NUL in line 6, character 3"),
        BadRecord(5, 7, "expected UTF-8 text, got the byte 0xED in line 7, character 3"),
    ]


def test_a_byte_order_mark_and_blank_lines_are_left_out() -> None:
    assert cells_of(BOM + b"\n\nid\n1\n \n\n2\n") == [["id"], ["1"], ["2"]]
    assert cells_of(b"id\n\xef\xbb\xbfx\n") == [["id"], ["\ufeffx"]]
    assert cells_of('id\n""\n1\n') == [["id"], [""], ["1"]], "an empty cell in quotes is a cell"


@pytest.mark.parametrize("content", [b"", b"\n \n", BOM, b"\xff\n1\n", b"x" * (2 << 20)])
def test_a_file_without_a_header_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="FILE: expected a header row"):
        read(content)
